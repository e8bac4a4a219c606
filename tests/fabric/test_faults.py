"""Faults: words to links, links to events in time, and what the network makes of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import RoadbedError, UsageError
from roadbed.fabric.base import Health, LinkKind
from roadbed.fabric.faults import MAX_FLAPS, Fault, after, links_of, parse, schedule
from tests.fabric.networks import single_tor, small_hpn

FABRIC = single_tor(4)
HPN = small_hpn()


def names(links: np.ndarray) -> set[str]:
    return {FABRIC.link_name(int(one)) for one in links}


def test_words_name_links() -> None:
    assert names(links_of(FABRIC, "nic-0:tor-0")) == {"nic-0:tor-0", "tor-0:nic-0"}
    assert names(links_of(FABRIC, "tor-0:nic-0", "link")) == {"nic-0:tor-0", "tor-0:nic-0"}
    assert names(links_of(FABRIC, "tor-1>agg-1")) == {"tor-1:agg-1"}
    assert names(links_of(FABRIC, "nic-2", "nic")) == {"nic-2:tor-1", "tor-1:nic-2"}
    assert len(links_of(FABRIC, "tor-1", "tor")) == 2 * (2 + 2)
    assert len(links_of(FABRIC, "agg-0")) == 2 * 2


def test_a_card_loses_its_network_not_its_pcie() -> None:
    links = links_of(HPN, "nic-3")
    assert set(HPN.link_kind[links].tolist()) == {LinkKind.ACCESS}
    assert len(links) == 4


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("nic-0", "link", "'nic-0' is no link; write it as nic-0:tor-1"),
        ("nic-0:tor-0", "tor", "is no tor"),
        ("nic-0>tor-0", "nic", "is no nic"),
        ("nic-0", "tor", "'nic-0' is no tor"),
        ("tor-0:tor-1", "link", "joined by 0 cables"),
        ("tor-9", "tor", "this fabric has 2 of kind tor"),
        ("spine-1", None, "there is no node"),
        ("gpu-0", None, "has no network cable"),
        ("", None, "there is no node"),
        ("a:b:c", None, "there is no node"),
    ],
)
def test_words_that_name_nothing(what: str, kind: Any, words: str) -> None:
    with pytest.raises(RoadbedError) as caught:
        links_of(FABRIC, what, kind)
    assert words in caught.value.message


@given(st.text(max_size=20))
def test_no_words_crash(what: str) -> None:
    try:
        links = links_of(FABRIC, what)
    except RoadbedError as error:
        assert error.field
    else:
        assert len(links)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"at_s": -1.0}, "at"),
        ({"at_s": float("nan")}, "at"),
        ({"at_s": 1.0, "repair_s": 0.0}, "repair"),
        ({"at_s": 1.0, "share": 1.0}, "share"),
        ({"at_s": 1.0, "flaps": 0}, "flaps"),
        ({"at_s": 1.0, "flaps": MAX_FLAPS + 1, "repair_s": 1.0}, "flaps"),
        ({"at_s": 1.0, "flaps": 3}, "repair"),
    ],
)
def test_times_that_can_not_be(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FABRIC, "nic-0:tor-0", **fields)
    assert caught.value.field == field


def test_a_fault_is_physics_first_and_routes_later() -> None:
    fault = parse(FABRIC, "nic-0:tor-0", at_s=10.0, repair_s=60.0)
    events = schedule(FABRIC, [fault], convergence_s=0.5)
    assert [(one.at_s, one.up, one.converged, len(one.links)) for one in events] == [
        (10.0, False, False, 2), (10.5, True, True, 0), (70.0, True, False, 2), (70.5, True, True, 0),
    ]  # fmt: skip
    assert [one.words for one in events[::2]] == ["nic-0:tor-0 is down", "nic-0:tor-0 is back"]


def test_never_repaired() -> None:
    events = schedule(FABRIC, [parse(FABRIC, "tor-0", at_s=1.0)], convergence_s=0.0)
    assert [one.converged for one in events] == [False, True]


def test_flaps_go_down_and_up() -> None:
    events = schedule(FABRIC, [parse(FABRIC, "nic-0", at_s=1.0, repair_s=2.0, flaps=3)], convergence_s=0.1)
    physics = [(one.at_s, one.up) for one in events if not one.converged]
    assert physics == [(1, False), (3, True), (5, False), (7, True), (9, False), (11, True)]


def test_a_link_that_trained_down() -> None:
    events = schedule(FABRIC, [parse(FABRIC, "tor-0:agg-0", at_s=1.0, repair_s=1.0, share=0.25)])
    health = after(FABRIC, Health.of(FABRIC), events, 1.5)
    link = FABRIC.find_link("tor-0:agg-0")
    assert health.capacity[link] == FABRIC.capacity[link] / 4
    assert health.link_up.all()
    assert events[0].words == "tor-0:agg-0 has 25% left"


@st.composite
def faults(draw: st.DrawFn) -> list[Fault]:
    what = st.sampled_from(["nic-0:tor-0", "nic-0>tor-0", "tor-0", "tor-0:agg-1", "nic-0"])
    return [
        parse(
            FABRIC, draw(what), at_s=draw(st.integers(0, 9)) * 1.0, repair_s=draw(st.sampled_from([0.5, 2.5, 4.0])),
            flaps=draw(st.integers(1, 3)), share=draw(st.sampled_from([0.0, 0.5])),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]  # fmt: skip


def _broken(some: list[Fault], when: float) -> tuple[set[int], set[int]]:
    """(dead, slowed) links at a moment, counted fault by fault."""
    dead, slow = set(), set()
    for fault in some:
        assert fault.repair_s is not None
        for turn in range(fault.flaps):
            begins = fault.at_s + 2 * turn * fault.repair_s
            if begins <= when < begins + fault.repair_s:
                (slow if fault.share else dead).update(fault.links.tolist())
    return dead, slow - dead


@given(faults(), st.integers(0, 160))
@settings(max_examples=150, deadline=None)
def test_overlapping_faults_end_with_the_last(some: list[Fault], quarters: int) -> None:
    when = quarters / 4 + 0.125
    health = after(FABRIC, Health.of(FABRIC), schedule(FABRIC, some), when)
    dead, slow = _broken(some, when)
    assert set(np.flatnonzero(~health.link_up).tolist()) == dead
    reduced = np.flatnonzero(health.link_up & (health.capacity < FABRIC.capacity))
    assert set(reduced.tolist()) == slow


def test_convergence_must_be_a_time() -> None:
    with pytest.raises(UsageError, match="convergence"):
        schedule(FABRIC, [], convergence_s=float("inf"))
