"""The story: ordered, filtered, paged, and safe to write anything into."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.control.store import Store
from roadbed.control.store.event import append_event, clean, last_starts_s, list_events


def test_events_are_numbered_filtered_and_paged(any_store: Store) -> None:
    with any_store.write() as connection:
        first = append_event(connection, 1.0, noun="service", name="chat", code="service.applied", message="m")
        for number in range(5):
            append_event(
                connection, 2.0, noun="replica", name=f"chat-{number}", code="replica.created", message="", cause=first
            )
    with any_store.read() as connection:
        rows = list_events(connection)
        assert [row.seq for row in rows] == sorted(row.seq for row in rows)
        assert rows[1].cause == first
        assert [row.name for row in list_events(connection, noun="service")] == ["chat"]
        assert [row.name for row in list_events(connection, noun="replica", name="chat-3")] == ["chat-3"]
        page = list_events(connection, after=first, limit=2)
        assert [row.name for row in page] == ["chat-0", "chat-1"]
        assert [row.name for row in list_events(connection, after=page[-1].seq, limit=2)] == ["chat-2", "chat-3"]
        assert [row.name for row in list_events(connection, limit=2, newest=True)] == ["chat-3", "chat-4"]


def test_last_starts_are_those_of_one_service(any_store: Store) -> None:
    with any_store.write() as connection:
        for number, (name, code) in enumerate(
            [
                ("chat-0", "ready"),
                ("chat-1", "ready"),
                ("chat-2-0", "ready"),
                ("chatter-0", "ready"),
                ("chat-0", "failed"),
            ]
        ):
            append_event(
                connection, 2.0, noun="replica", name=name, code=f"replica.{code}", message="", data={"after_s": number}
            )
    with any_store.read() as connection:
        assert last_starts_s(connection, "chat") == [1.0, 0.0]
        assert last_starts_s(connection, "chat", 1) == [1.0]
        assert last_starts_s(connection, "chat-2") == [2.0]
        assert last_starts_s(connection, "nobody") == []


def test_data_and_odd_text_survive(any_store: Store) -> None:
    with any_store.write() as connection:
        append_event(
            connection, 1.5, noun="x", name="n\x00", code="c", message="a\x00b\ud800", data={"numbers": [1, 2.5, None]}
        )
    with any_store.read() as connection:
        (row,) = list_events(connection)
    assert (row.at, row.name, row.message) == (1.5, "n\ufffd", "a\ufffdb?")
    assert row.data == {"numbers": [1, 2.5, None]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None), max_size=50))
def test_clean_text_is_utf8_without_nul(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert len(cleaned.encode("utf-8")) >= len(cleaned)
    assert clean(cleaned) == cleaned
