"""Flows over time: closed forms, conservation, the packet-level oracle, faults, programs, and what is refused."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Health
from roadbed.fabric.faults import Event
from roadbed.fabric.flows import MAX_BYTES, Flows, Moves, Outcome, Wide, simulate
from roadbed.fabric.maxmin import Sessions
from roadbed.fabric.paths import Paths, choose
from roadbed.fabric.routes import Routes
from tests.fabric.networks import single_tor, small_dcn, small_hpn
from tests.fabric.packets import completion_s

FABRIC = single_tor(8)
RATE = 25e9


def path(fabric: Fabric, *names: str) -> list[int]:
    return [fabric.find_link(name) for name in names]


SAME_TOR = path(FABRIC, "nic-0:tor-0", "tor-0:nic-1")
INTO_ONE = path(FABRIC, "nic-2:tor-1", "tor-1:agg-0", "agg-0:tor-0", "tor-0:nic-1")


def sessions(*paths: list[int]) -> Sessions:
    start = np.cumsum([0, *map(len, paths)], dtype=np.int32)
    return Sessions.of(start, [link for one in paths for link in one])


def at(when: float, links: list[int], up: bool, converged: bool = False, share: float = 1.0) -> Event:
    return Event(at_s=when, links=np.array(links, np.int32), up=up, converged=converged, share=share)


# closed forms


def test_one_flow_takes_size_over_rate_plus_latency() -> None:
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE, latency_s=1e-6, delay_s=0.5))
    assert out.start_s[0] == pytest.approx(0.5)
    assert out.finish_s[0] == pytest.approx(1.5 + 1e-6, rel=1e-12)
    assert out.link_bytes[SAME_TOR].tolist() == pytest.approx([RATE, RATE])
    assert out.link_busy_s[SAME_TOR].tolist() == pytest.approx([1.0, 1.0])
    assert out.link_bytes.sum() == pytest.approx(2 * RATE)


def test_two_share_until_one_is_done() -> None:
    """1 and 3 units into one port: both at half until 2, the larger alone for the rest: done at 4."""
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR, INTO_ONE), [RATE, 3 * RATE]))
    assert out.finish_s.tolist() == pytest.approx([2.0, 4.0], rel=1e-12)


def test_who_waits_starts_on_arrival_and_after_its_delay() -> None:
    flows = Flows.of(
        sessions(SAME_TOR, SAME_TOR, SAME_TOR), RATE, latency_s=0.125, delay_s=[0, 0.25, 0], after=[[], [0], [0, 1]]
    )
    out = simulate(FABRIC, flows)
    assert out.start_s.tolist() == pytest.approx([0, 1.375, 2.5])
    assert out.finish_s.tolist() == pytest.approx([1.125, 2.5, 3.625])


def test_a_ring_of_dependent_steps_equals_theory() -> None:
    """Ring all-gather of n ranks as (n−1) steps of n flows, each after the two it needs: (n−1)·size/n per rank."""
    num, size = 8, 8e9
    fabric = single_tor(num, num_spines=8)
    nics = fabric.gpu_nic
    paths = choose(Routes(fabric), nics, np.roll(nics, -1), policy="planned")
    one = [paths.links_of(flow).tolist() for flow in range(num)]
    after: list[list[int]] = [[] for _ in range(num)]
    for step in range(1, num - 1):
        after += [[(step - 1) * num + rank, (step - 1) * num + (rank - 1) % num] for rank in range(num)]
    steps = sessions(*(one[rank] for _ in range(num - 1) for rank in range(num)))
    out = simulate(fabric, Flows.of(steps, size / num, after=after))
    assert out.finish_s.max() == pytest.approx((num - 1) * size / num / RATE, rel=1e-9)


def test_members_of_a_session_move_as_one() -> None:
    """Two members on a shared port: half its rate each, and both bytes are on the link."""
    both = Sessions.of([0, 2], [SAME_TOR[0], SAME_TOR[1]], [1, 2])
    out = simulate(FABRIC, Flows.of(both, RATE))
    assert out.finish_s.tolist() == pytest.approx([2.0])
    assert out.link_bytes[SAME_TOR].tolist() == pytest.approx([RATE, 2 * RATE])


def test_a_flow_without_links_is_there_at_once() -> None:
    out = simulate(FABRIC, Flows.of(sessions([]), 1e9, latency_s=2e-6), watch=True)
    assert out.finish_s.tolist() == [2e-6]


# properties


@st.composite
def loads(draw: st.DrawFn) -> tuple[Paths, Floats, Floats]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    num = draw(st.integers(1, 24))
    src, dst = rng.choice(FABRIC.gpu_nic, num), rng.choice(FABRIC.gpu_nic, num)
    paths = choose(Routes(FABRIC), src, dst, seed=int(rng.integers(1000)))
    return paths, rng.integers(1, 50, num) * 1e8, rng.integers(0, 4, num) * 0.01


@given(loads())
@settings(max_examples=60, deadline=None)
def test_bytes_are_conserved_and_no_link_is_overdriven(load: tuple[Paths, Floats, Floats]) -> None:
    paths, size, delay = load
    out = simulate(FABRIC, Flows.along(paths, size, delay_s=delay))
    owner = np.repeat(np.arange(len(size)), np.diff(paths.start))
    wanted = np.bincount(paths.link, size[owner], FABRIC.num_links)
    np.testing.assert_allclose(out.link_bytes, wanted, rtol=1e-6, atol=1)
    np.testing.assert_allclose(out.sent_bytes, size)
    assert (out.link_bytes <= FABRIC.capacity * out.link_busy_s * (1 + 1e-6) + 1).all()
    assert np.isfinite(out.finish_s).all()


@given(loads())
@settings(max_examples=25, deadline=None)
def test_the_same_again(load: tuple[Paths, Floats, Floats]) -> None:
    paths, size, delay = load
    one, two = (simulate(FABRIC, Flows.along(paths, size, delay_s=delay)) for _ in range(2))
    assert one.finish_s.tolist() == two.finish_s.tolist()
    assert one.num_events == two.num_events


@given(loads(), st.floats(0.01, 0.4))
@settings(max_examples=25, deadline=None)
def test_stopping_early_sees_the_same_film(load: tuple[Paths, Floats, Floats], until_s: float) -> None:
    paths, size, delay = load
    whole = simulate(FABRIC, Flows.along(paths, size, delay_s=delay), watch=True)
    part = simulate(FABRIC, Flows.along(paths, size, delay_s=delay), until_s=until_s)
    done = whole.finish_s <= until_s
    np.testing.assert_allclose(part.finish_s[done], whole.finish_s[done])
    assert np.isinf(part.finish_s[whole.finish_s > until_s + 1e-9]).all()
    linked = np.diff(paths.start) > 0
    edges = np.array([0.0, until_s])
    seen = whole.throughput(edges, linked.astype(float))[0] * until_s
    assert part.sent_bytes[linked].sum() == pytest.approx(seen, rel=1e-6, abs=1)


@pytest.mark.parametrize(
    "make", [lambda: small_hpn(gpus=64), lambda: small_dcn(gpus=64), lambda: single_tor(32, 4)],
    ids=["hpn7", "dcn_plus", "single"],
)  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_packets(make: Callable[[], Fabric], seed: int) -> None:
    """Completion times of every flow within a few per cent of a round-robin packet network, on up to 64 hosts."""
    fabric = make()
    rng = np.random.default_rng(seed)
    num = 30
    few = fabric.gpu_nic[rng.choice(len(fabric.gpu_nic), 12, replace=False)]
    src = rng.choice(few[:6], num)
    dst = rng.choice(few[6:], num)
    paths = choose(Routes(fabric), src, dst, seed=seed)
    packet = 9_000.0
    size = rng.integers(500, 1500, num) * packet
    delay = rng.integers(0, 40, num) * 2e-6
    fluid = simulate(fabric, Flows.along(paths, size, delay_s=delay)).finish_s
    packets = np.array(completion_s(fabric, paths, size.tolist(), delay.tolist(), packet))
    error = np.abs(fluid - packets) / (packets - delay)
    assert error.mean() < 0.015
    assert error.max() < 0.06


# faults


class ByHand:
    """Moves everybody to one path."""

    def __init__(self, links: list[int], latency_s: float = 0.0) -> None:
        self.links, self.latency_s = links, latency_s
        self.calls: list[tuple[float, list[int], int]] = []

    def reroute(self, now_s: float, health: Health, flows: Wide) -> Moves | None:
        self.calls.append((now_s, flows.tolist(), int((~health.link_up).sum())))
        if not health.link_up.all():
            return Moves(
                flows=flows,
                sessions=sessions(*[self.links] * len(flows)),
                latency_s=np.full(len(flows), self.latency_s),
            )
        return None


def test_a_dead_link_stops_a_flow_until_its_repair() -> None:
    events = [at(0.5, SAME_TOR[:1], up=False), at(2.0, SAME_TOR[:1], up=True)]
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), events=events, watch=True)
    assert out.finish_s[0] == pytest.approx(2.5)
    assert out.throughput(np.array([0, 0.5, 2.0, 2.5])).tolist() == pytest.approx([RATE, 0, RATE])
    assert out.link_busy_s[SAME_TOR[1]] == pytest.approx(2.5)
    assert out.stalls == [(0.5, 1), (2.0, 0)]
    assert out.stalled_s() == (1.5, 1.5)


def test_never_repaired_never_done() -> None:
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), events=[at(0.5, SAME_TOR[:1], up=False)])
    assert math.isinf(out.finish_s[0])
    assert out.sent_bytes[0] == pytest.approx(RATE / 2)
    later = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), events=[at(0.5, SAME_TOR, up=False)], until_s=4.0)
    assert later.stalled_s() == (3.5, 3.5)


def test_half_a_link_is_half_as_fast() -> None:
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), events=[at(0.5, SAME_TOR[:1], up=True, share=0.5)])
    assert out.finish_s[0] == pytest.approx(1.5)


def test_routes_move_a_flow_with_what_it_has_left() -> None:
    detour = path(FABRIC, "nic-0:tor-0", "tor-0:agg-1", "agg-1:tor-0", "tor-0:nic-1")
    mover = ByHand(detour, latency_s=0.25)
    events = [at(0.5, SAME_TOR[1:], up=False), at(0.75, [], up=True, converged=True)]
    down = dict.fromkeys(SAME_TOR[1:], 0)
    detour[-1] = path(FABRIC, "tor-0:nic-0")[0] if detour[-1] in down else detour[-1]
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR, SAME_TOR), RATE, delay_s=[0, 9]), events=events, rerouter=mover)
    assert mover.calls == [(0.75, [0, 1], 1)]
    assert out.finish_s.tolist() == pytest.approx([1.5, 10.25])  # 0.5 of it left at 0.75, + latency; 9 + 1 + latency
    assert out.link_bytes[detour[1]] == pytest.approx(1.5 * RATE)


def test_who_is_done_at_the_moment_of_the_fault_is_done() -> None:
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), events=[at(1.0, SAME_TOR, up=False)])
    assert out.finish_s[0] == pytest.approx(1.0)


def test_a_network_broken_from_the_start() -> None:
    health = Health.of(FABRIC)
    health.capacity[SAME_TOR[0]] /= 5
    out = simulate(FABRIC, Flows.of(sessions(SAME_TOR), RATE), health=health)
    assert out.finish_s[0] == pytest.approx(5.0)
    assert health.capacity[SAME_TOR[0]] == RATE / 5


# programs


class Loop:
    """Computes, then sends, so many times."""

    def __init__(self, turns: int, compute_s: float, links: list[int]) -> None:
        self.turns, self.compute_s, self.links = turns, compute_s, links
        self.heard: list[tuple[float, list[int]]] = []

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        self.heard.append((now_s, finished.tolist()))
        if len(self.heard) > self.turns:
            return None
        return Flows.of(sessions(self.links), RATE, delay_s=self.compute_s)


def test_programs_loop_and_get_in_each_others_way() -> None:
    """Alone an iteration takes 2 s; two jobs in step share the port and take 3."""
    alone = Loop(3, 1.0, SAME_TOR)
    out = simulate(FABRIC, programs=[alone])
    assert alone.heard == [(0.0, []), (2.0, [0]), (4.0, [1]), (6.0, [2])]
    both = [Loop(3, 1.0, SAME_TOR), Loop(3, 1.0, INTO_ONE)]
    out = simulate(FABRIC, programs=both)
    assert out.finish_s.tolist() == pytest.approx([3, 3, 6, 6, 9, 9])
    assert out.program.tolist() == [0, 1] * 3


def test_programs_may_chain_by_their_own_numbers() -> None:
    class Chain:
        def next(self, now_s: float, finished: Wide) -> Flows | None:
            if now_s == 0:
                return Flows.of(sessions(SAME_TOR, SAME_TOR), RATE, after=[[], [0]])
            if finished.tolist() == [0]:
                return Flows.of(sessions(SAME_TOR, SAME_TOR), RATE, after=[[1], [0]])  # after 1, and one that is over
            return None

    out = simulate(FABRIC, Flows.of(sessions([]), 1.0), programs=[Chain()])
    assert out.start_s.tolist() == pytest.approx([0, 0, 1, 3, 1])
    assert out.finish_s[1:].tolist() == pytest.approx([1, 3, 4, 3])


def test_an_endless_program_ends_with_the_time() -> None:
    out = simulate(FABRIC, programs=[Loop(10**9, 0.25, SAME_TOR)], until_s=10.1)
    assert out.end_s == 10.1
    assert np.isfinite(out.finish_s).sum() == 8
    assert out.link_bytes[SAME_TOR[0]] == pytest.approx(8 * RATE)


def test_equal_flows_cost_one_solution() -> None:
    num = 400
    out = simulate(FABRIC, Flows.of(sessions(*[SAME_TOR] * num), 1e9))
    assert out.num_solved == num
    assert out.num_events == 3 * num
    assert len(set(out.finish_s.tolist())) == 1


# what is refused


def _change(flows: Flows, **fields: Any) -> Flows:
    values = {name: getattr(flows, name) for name in flows.__struct_fields__}
    return Flows(**(values | fields))


ONE = Flows.of(sessions(SAME_TOR), 1.0)


@pytest.mark.parametrize(
    ("flows", "field"),
    [
        (_change(ONE, size_bytes=np.array([0.0])), "size_bytes"),
        (_change(ONE, size_bytes=np.array([-1.0])), "size_bytes"),
        (_change(ONE, size_bytes=np.array([2 * MAX_BYTES])), "size_bytes"),
        (_change(ONE, size_bytes=np.array([math.nan])), "size_bytes"),
        (_change(ONE, latency_s=np.array([-1e-6])), "latency_s"),
        (_change(ONE, delay_s=np.array([math.inf])), "delay_s"),
        (_change(ONE, sessions=Sessions.of([0, 1], [0], [0.0])), "count"),
        (_change(ONE, sessions=Sessions.of([0, 1], [FABRIC.num_links])), "link"),
        (Flows.of(sessions(SAME_TOR), 1.0, after=[[0]]), "after"),
        (Flows.of(sessions(SAME_TOR), 1.0, after=[[-1]]), "after"),
    ],
)
def test_what_can_not_be_is_refused_by_name(flows: Flows, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        simulate(FABRIC, flows)
    assert caught.value.field == field
    assert "flow" in caught.value.message if field == "after" else field in caught.value.message


def test_no_time_is_refused() -> None:
    with pytest.raises(UsageError, match="until_s"):
        simulate(FABRIC, ONE, until_s=0.0)


def test_lost_connections_are_named() -> None:
    health = Health.of(FABRIC)
    health.link_up[SAME_TOR[0]] = False
    paths = choose(Routes(FABRIC, health), FABRIC.gpu_nic[:1], FABRIC.gpu_nic[1:2])
    with pytest.raises(UsageError, match="connection 0 has no working way"):
        Flows.along(paths, 1.0)


def test_nothing_to_do() -> None:
    out: Outcome = simulate(FABRIC)
    assert out.num_events == 0
    assert out.link_bytes.sum() == 0
