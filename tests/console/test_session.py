"""Sessions: only what we issued is valid, only until it expires, only under this token; and whose page is asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.console.session import LIFETIME_S, Sessions, same_origin
from tests.control.conftest import Clock

TOKEN = "an-admin-token"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_session_lives_its_time_and_no_longer(clock: Clock) -> None:
    sessions = Sessions(TOKEN, clock)
    session = sessions.issue()
    assert sessions.valid(session)
    clock.tick(LIFETIME_S - 1)
    assert sessions.valid(session)
    clock.tick(1)
    assert not sessions.valid(session)


def test_a_session_survives_a_restart_but_not_another_token(clock: Clock) -> None:
    session = Sessions(TOKEN, clock).issue()
    assert Sessions(TOKEN, clock).valid(session)
    assert not Sessions("another", clock).valid(session)


def test_sessions_differ_and_hold_no_token(clock: Clock) -> None:
    sessions = Sessions(TOKEN, clock)
    first, second = sessions.issue(), sessions.issue()
    assert first != second
    assert TOKEN not in first + sessions.cookie
    assert sessions.cookie != Sessions("another", clock).cookie


def test_a_longer_life_cannot_be_written_in(clock: Clock) -> None:
    sessions = Sessions(TOKEN, clock)
    expiry, nonce, signature = sessions.issue().split(".")
    assert not sessions.valid(f"{int(expiry) + 1}.{nonce}.{signature}")
    assert not sessions.valid(f"{expiry}.{nonce}x.{signature}")
    assert not sessions.valid(f"{expiry}.{nonce}.{signature[:-1]}")


@given(st.text(max_size=200) | st.none())
def test_nothing_made_up_is_valid(session: str | None) -> None:
    assert not Sessions(TOKEN, lambda: 0.0).valid(session)


@given(st.data())
def test_one_changed_character_breaks_it(data: st.DataObject) -> None:
    sessions = Sessions(TOKEN, lambda: 1000.0)
    session = sessions.issue()
    at = data.draw(st.integers(0, len(session) - 1))
    other = data.draw(st.characters().filter(lambda char: char != session[at]))
    assert not sessions.valid(session[:at] + other + session[at + 1 :])


def test_the_token_opens_and_nothing_else(clock: Clock) -> None:
    sessions = Sessions(TOKEN, clock)
    assert sessions.accepts(TOKEN)
    assert sessions.accepts(f" {TOKEN}\n")
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "\ud800", "é" * 20):
        assert not sessions.accepts(wrong)


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "h:1", "origin": "http://h:1"}, True),
        ({"host": "H:1", "origin": "https://h:1"}, True),
        ({"host": "h:1", "origin": "http://h:1", "sec-fetch-site": "same-origin"}, True),
        ({"host": "h:1", "origin": "http://h:1", "sec-fetch-site": "same-site"}, False),
        ({"host": "h:1", "origin": "http://h:2"}, False),
        ({"host": "h:1", "origin": "http://evil/h:1"}, False),
        ({"host": "h:1", "origin": "http://h:1@evil"}, False),
        ({"host": "h:1", "origin": "null"}, False),
        ({"host": "h:1", "origin": "http://["}, False),
        ({"host": "h:1"}, False),
        ({"host": "", "origin": "http://"}, False),
        ({}, False),
    ],
)
def test_whose_page(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(headers) is ours
