"""Networks in figures: HPN's tables 2 and 4 from their counts, bisection and cost from first principles."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from roadbed.fabric import simai
from roadbed.fabric.base import GBIT, Fabric, Kind, LinkKind
from roadbed.fabric.blueprint import check
from roadbed.fabric.designs import Design, describe
from roadbed.fabric.prices import DEFAULTS, Price
from roadbed.fabric.registry import build


def _design(name: str, **parameters: object) -> Design:
    fabric = build(name, **parameters)
    assert check(fabric) == []  # no switch of any step needs more than one 51.2T chip
    return describe(fabric)


PORTS = 51_200 // 400  # of one chip
HALF = PORTS // 2  # down at 1:1


def test_table_2_each_step_multiplies_what_it_says() -> None:
    """From a 51.2T Clos to 15,360 GPUs under two tiers. Two cables join a group of ToRs to each Agg, as the paper's
    factor of 2 for the second ToR implies: both of one ToR, or one of each of two."""
    groups = HALF // 2
    one_tor = _design(
        "single_tor", servers_per_segment=HALF // 8, segments=groups, pods=1, aggs=HALF // 2, agg_cables=2
    )
    two_tors = _design("dcn_plus", servers_per_segment=PORTS // 8, segments=groups, pods=1, aggs=HALF, agg_cables=1)
    hpn = {"aggs_per_plane": HALF, "agg_down_ports": HALF, "backup_servers": 0}
    rails = _design("hpn7", planes=1, **hpn)
    planes = _design("hpn7", planes=2, **hpn)
    oversubscribed = _design("hpn7")
    steps = [one_tor, two_tors, rails, planes, oversubscribed]
    assert [step.gpus_per_segment for step in steps] == [64, 128, 1_024, 1_024, 1_024]
    assert [step.gpus_per_pod for step in steps] == [2_048, 4_096, 4_096, 8_192, 15_360]
    pods = [step.gpus_per_pod for step in steps]
    assert [after / before for before, after in zip(pods, pods[1:], strict=False)] == [2, 1, 2, 1.875]
    assert rails.gpus_per_segment / two_tors.gpus_per_segment == 8


def test_table_4_any_to_any_and_rail_only() -> None:
    any_to_any, rail_only = _design("hpn7"), _design("rail_only")
    assert (any_to_any.num_planes, any_to_any.gpus_per_pod) == (2, 15_360)
    assert (rail_only.num_planes, rail_only.gpus_per_pod) == (16, 122_880)
    assert [tier.load for tier in any_to_any.tiers] == [tier.load for tier in rail_only.tiers]  # the same switches


def test_oversubscription_of_hpn() -> None:
    tor, agg, core = describe(build("hpn7", with_core=True)).tiers
    assert tor.oversubscription == pytest.approx(128 * 200 / (60 * 400))
    assert agg.oversubscription == 15
    assert core.oversubscription == 0
    assert (tor.num, agg.num, core.num) == (240, 120, 64)
    full = describe(build("hpn7", segments=1, with_backup=True)).tiers[0]
    assert full.load == pytest.approx(1.0)


def test_one_to_one_of_dcn_plus() -> None:
    tiers = describe(build("dcn_plus")).tiers
    assert [tier.oversubscription for tier in tiers] == [1, 1, 0]
    assert {tier.load for tier in tiers} == {1.0}


def test_bisection_is_half_of_what_leaves_the_limiting_tier() -> None:
    one = describe(build("dcn_plus", gpus=1_024))
    assert one.bisection_segments_bytes_s == one.bisection_pods_bytes_s == 1_024 * 400 * GBIT / 2
    pods = describe(build("hpn7", segments=2, pods=2))
    assert pods.bisection_segments_bytes_s == 64 * 60 * 400 * GBIT / 2  # ToRs' uplinks, less than the cards'
    assert pods.bisection_pods_bytes_s == 2 * 120 * 8 * 400 * GBIT / 2
    alone = describe(build("hpn7", gpus=448))
    assert alone.bisection_segments_bytes_s == alone.bisection_pods_bytes_s == 0


def test_cost_is_the_sum_of_the_parts() -> None:
    design = describe(build("dcn_plus", gpus=448))
    tor, agg = design.tiers
    cables = {(row.link, row.medium, row.num) for row in design.cables}
    assert cables == {("access", "aoc", 448 * 2), ("fabric", "multimode", 8 * 64)}
    usd = (
        8 * DEFAULTS["switch_51t"].usd  # ToRs
        + 8 * DEFAULTS["switch_25t"].usd  # Aggs, half used
        + 448 * DEFAULTS["card"].usd
        + 448 * 2 * 2 * DEFAULTS["aoc"].usd
        + 8 * 64 * 4 * DEFAULTS["multimode"].usd
    )
    assert design.usd == pytest.approx(usd)
    assert (tor.num, agg.num) == (8, 8)
    assert design.num_switches == 16


def test_prices_of_the_user_hold() -> None:
    free = {part: Price(usd=0, watts=0, basis="test") for part in DEFAULTS} | {
        "card": Price(usd=7, watts=3, basis="test")
    }
    design = describe(build("hpn7", gpus=64), free)
    assert (design.usd, design.watts) == (7 * 64, 3 * 64)


def test_media_follow_from_size() -> None:
    assert {row.medium for row in describe(build("single_tor", gpus=64)).cables if row.link == "access"} == {"copper"}
    assert {row.medium for row in describe(build("hpn7", gpus=1_024)).cables if row.link == "access"} == {"aoc"}
    one, many = describe(build("hpn7", with_core=True)), describe(build("hpn7", pods=2))
    assert {row.medium for row in one.cables if row.link == "core"} == {"multimode"}
    assert {row.medium for row in many.cables if row.link == "core"} == {"single_mode"}
    assert {row.medium for row in many.cables if row.link == "fabric"} == {"multimode"}
    assert {row.medium for row in describe(build("rail_only")).cables if row.link == "fabric"} == {"single_mode"}


def test_a_switch_beyond_the_largest_chip_is_several() -> None:
    free = {part: Price(usd=0, watts=0, basis="test") for part in DEFAULTS} | {
        "switch_51t": Price(usd=1, watts=0, basis="test")
    }
    design = describe(build("fat_tree", k=4, gpus=16, gbps=20_000), free)
    assert design.usd == 2 * design.num_switches == 2 * 20
    assert design.tiers[0].load == pytest.approx(80_000 / 51_200)


def test_scale_up_alone_has_no_tiers() -> None:
    design = describe(simai.read("3 2 1 0 2 H800\n2\n0 2 100Gbps 1ns 0\n1 2 100Gbps 1ns 0\n", "x"))
    assert design.tiers == []
    assert design.num_switches == 0


def _max_flow(fabric: Fabric, by: str, half: int) -> float:
    """What really fits from the cards of the first areas to those of the rest, by an oracle: bytes/s."""
    num = fabric.num_nodes
    nics = fabric.nodes(Kind.NIC)
    first = getattr(fabric, by)[nics] < half
    network = fabric.link_kind >= LinkKind.ACCESS
    ends = [fabric.src[network], fabric.dst[network], fabric.capacity[network] / GBIT]
    source, sink = num, num + 1
    plenty = np.full(len(nics), 10**6)
    src = np.concatenate([ends[0], np.where(first, source, nics)])
    dst = np.concatenate([ends[1], np.where(first, nics, sink)])
    gbps = np.concatenate([ends[2], plenty]).astype(np.int32)
    graph = csr_array((gbps, (src, dst)), shape=(num + 2, num + 2))  # parallel cables are summed
    return float(maximum_flow(graph, source, sink).flow_value) * GBIT


@pytest.mark.parametrize(
    ("name", "counts", "by"),
    [
        ("hpn7", {"segments": 4, "pods": 1, "active_servers": 3, "aggs_per_plane": 4}, "segment"),
        ("hpn7", {"segments": 4, "pods": 1, "active_servers": 8, "aggs_per_plane": 2}, "segment"),
        ("hpn7", {"segments": 2, "pods": 2, "active_servers": 6, "aggs_per_plane": 4, "agg_uplinks": 2}, "pod"),
        ("dcn_plus", {"segments": 4, "pods": 1, "servers_per_segment": 4, "agg_cables": 2}, "segment"),
        ("dcn_plus", {"segments": 2, "pods": 2, "servers_per_segment": 2, "cores": 16, "agg_uplinks": 4}, "pod"),
        ("single_tor", {"segments": 4, "pods": 2, "servers_per_segment": 2, "cores": 16}, "pod"),
        ("spectrum_x", {"segments": 4, "servers_per_segment": 4, "spines": 3}, "segment"),
        ("rail_only", {"segments": 4, "active_servers": 4, "aggs_per_plane": 3}, "segment"),
    ],
)
def test_bisection_is_what_an_oracle_of_max_flow_finds(name: str, counts: dict[str, int], by: str) -> None:
    fabric = build(name, **counts)
    design = describe(fabric)
    num = int(getattr(fabric, by).max()) + 1
    ours = design.bisection_segments_bytes_s if by == "segment" else design.bisection_pods_bytes_s
    assert _max_flow(fabric, by, num // 2) == pytest.approx(ours)
