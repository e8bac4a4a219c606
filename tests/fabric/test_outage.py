"""Outages: a looping collective before, while and after something breaks, with one ToR per card and with two."""

import math
from typing import Any

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Health, LinkKind
from roadbed.fabric.collective.base import Op, ranks_of
from roadbed.fabric.collective.chooser import traffic_of
from roadbed.fabric.collective.run import Job, PathOptions, price
from roadbed.fabric.constants import RDMA_GIVES_UP_S
from roadbed.fabric.faults import Fault, parse
from roadbed.fabric.outage import Outage, run
from roadbed.fabric.paths import Policy
from roadbed.fabric.registry import build

HPN = build("hpn7", gpus=32)
SINGLE = build("single_tor", gpus=128)
SIZE = 1 << 32


def first_cable(fabric: Fabric, card: str) -> str:
    node = fabric.find_node(card)
    return next(fabric.link_name(int(one)) for one in fabric.leaving(node) if fabric.link_kind[one] == LinkKind.ACCESS)


def outage(fabric: Fabric, *faults: Fault, gpus: int = 32, **how: Any) -> Outage:
    settings: dict[str, Any] = {"size": SIZE, "for_s": 12.0, "options": PathOptions(policy="disjoint")}
    return run(fabric, faults, gpus=np.arange(gpus, dtype=np.int32), **(settings | how))


def cut(fabric: Fabric, at_s: float = 4.0, repair_s: float | None = 4.0, **more: Any) -> Fault:
    return parse(fabric, first_cable(fabric, "nic-0"), at_s=at_s, repair_s=repair_s, **more)


def test_dual_tor_stalls_for_one_convergence_only() -> None:
    one = outage(HPN, cut(HPN), convergence_s=0.5)
    assert one.dual_tor
    assert one.stalled_s == pytest.approx(0.5, rel=1e-3)
    assert one.job_lost_s is None
    assert one.cut_off == 0
    assert one.rerouted > 0.4 * one.before
    assert one.after == pytest.approx(one.before, rel=0.02)
    assert len(one.seconds) == 12
    assert one.seconds[4] == pytest.approx(0.5 * one.before, rel=0.15)


def test_single_tor_stalls_until_the_repair() -> None:
    one = outage(SINGLE, cut(SINGLE), gpus=128, convergence_s=0.5)
    assert not one.dual_tor
    assert one.stalled_s == pytest.approx(4.0, rel=1e-3)
    assert one.cut_off > 0
    assert one.rerouted < 1e-3 * one.before
    assert max(one.seconds[5:8]) < 1e-3 * one.before
    assert one.after == pytest.approx(one.before, rel=0.02)


def test_a_dead_tor_takes_its_servers_with_it_unless_there_are_two() -> None:
    single, dual = build("single_tor", gpus=128), build("dcn_plus", gpus=256)
    down = outage(single, parse(single, "tor-0", at_s=4.0, repair_s=4.0), gpus=128)
    up = outage(dual, parse(dual, "tor-0", at_s=4.0, repair_s=4.0), gpus=256)
    assert down.stalled_s == pytest.approx(4.0, rel=1e-3)
    assert up.stalled_s == pytest.approx(0.5, rel=1e-3)
    assert up.rerouted > 0.3 * up.before


def test_the_job_is_lost_when_rdma_gives_up() -> None:
    one = outage(SINGLE, cut(SINGLE, 1.0, None), gpus=128, for_s=60.0)
    assert one.job_lost_s == pytest.approx(1.0 + RDMA_GIVES_UP_S, rel=1e-3)
    assert math.isnan(one.after)
    assert one.longest_stall_s == pytest.approx(59.0, rel=1e-3)
    short = outage(SINGLE, cut(SINGLE, 1.0, 20.0), gpus=128, for_s=60.0)
    assert short.job_lost_s is None


@pytest.mark.parametrize("policy", ["ecmp", "spray", "planned"])
def test_every_policy_survives_with_two_tors_and_waits_with_one(policy: Policy) -> None:
    options = PathOptions(policy=policy)
    dual = outage(HPN, cut(HPN), options=options)
    single = outage(SINGLE, cut(SINGLE), gpus=128, options=options)
    assert dual.stalled_s == pytest.approx(0.5, rel=1e-3)
    assert single.stalled_s == pytest.approx(4.0, rel=1e-3)
    assert single.after == pytest.approx(single.before, rel=0.02)


@pytest.mark.parametrize("op", ["allgather", "alltoall"])
def test_other_operations_loop_as_well(op: Op) -> None:
    one = outage(HPN, cut(HPN), op=op, convergence_s=0.25)
    assert one.algorithm == ("ring" if op == "allgather" else "pxn")
    assert one.stalled_s == pytest.approx(0.25, rel=1e-2)
    assert one.iterations > 10


def test_every_flap_costs_a_convergence() -> None:
    """Down for 1 s, up for 1 s, three times; 0.25 s lost each time it goes down."""
    one = outage(HPN, cut(HPN, 2.0, 1.0, flaps=3), convergence_s=0.25)
    assert one.stalled_s == pytest.approx(0.75, rel=1e-3)
    assert one.longest_stall_s == pytest.approx(0.25, rel=1e-3)


def test_a_one_way_fault_blackholes_until_the_routes_avoid_it() -> None:
    link = first_cable(HPN, "nic-0").replace(":", ">")
    one = outage(HPN, parse(HPN, link, at_s=4.0, repair_s=4.0), convergence_s=0.5)
    assert one.stalled_s == pytest.approx(0.5, rel=1e-3)
    assert one.after == pytest.approx(one.before, rel=0.02)


def test_a_link_that_trained_down_stops_nobody() -> None:
    one = outage(HPN, cut(HPN, share=0.1))
    assert one.stalled_s == 0
    assert one.during < 0.9 * one.before


def test_nothing_broke() -> None:
    one = outage(HPN)
    assert one.stalled_s == 0
    assert one.events == []
    assert math.isnan(one.during)
    assert one.iterations == pytest.approx(12.0 / one.iteration_s, abs=1)


def test_iterations_take_what_the_collective_is_priced_at() -> None:

    ranks = ranks_of(HPN, list(range(32)))
    traffic = traffic_of(HPN, "allreduce", ranks, "ring")
    priced = price(HPN, [Job("allreduce", ranks, traffic)], PathOptions(policy="disjoint")).jobs[0]
    slower = max(priced.kernel_s_per_byte, priced.net_s_per_byte) * SIZE
    assert outage(HPN).iteration_s == pytest.approx(priced.latency_s + slower, rel=1e-3)


def test_what_is_broken_before_is_worked_around() -> None:
    health = Health.of(HPN)
    link = HPN.find_link(first_cable(HPN, "nic-3"))
    health.link_up[[link, HPN.reverse[link]]] = False
    one = outage(HPN, health=health)
    assert one.stalled_s == 0
    assert one.iterations > 0
    assert health.link_up.sum() == HPN.num_links - 2


def test_the_same_again() -> None:
    assert outage(HPN, cut(HPN)) == outage(HPN, cut(HPN))


@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({"for_s": 0.0}, "for"),
        ({"for_s": math.nan}, "for"),
        ({"for_s": 3.0}, "at"),
        ({"size": 1}, "bytes"),
        ({"gpus": 8}, "gpus"),
        ({"convergence_s": -1.0}, "convergence"),
    ],
)
def test_what_can_not_be(how: dict[str, Any], field: str) -> None:
    if field == "bytes":
        how = how | {"for_s": 90_000.0}
    with pytest.raises(UsageError) as caught:
        outage(HPN, cut(HPN), **how)
    assert caught.value.field == field


def test_cut_off_from_the_start() -> None:
    health = Health.of(SINGLE)
    health.link_up[SINGLE.find_link(first_cable(SINGLE, "nic-0"))] = False
    with pytest.raises(UsageError, match="can't reach"):
        outage(SINGLE, gpus=128, health=health)
