"""Paths by policy: what hosts and switches make of source ports, and what spreads better than what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.fabric.base import NOWHERE, Fabric, Floats, Ints, Kind, LinkKind
from roadbed.fabric.hashing import FIRST_PORT, HashModel
from roadbed.fabric.paths import Connections, Paths, Policy, choose
from roadbed.fabric.registry import build
from roadbed.fabric.routes import Routes
from tests.fabric.networks import single_tor, small_dcn, small_hpn

POLICIES: list[Policy] = ["ecmp", "disjoint", "spray", "planned"]
HPN, DCN = small_hpn(), small_dcn()


def shifted(fabric: Fabric, by: int) -> tuple[Ints, Ints]:
    """Every card sends to the one `by` GPUs on."""
    return fabric.gpu_nic, np.roll(fabric.gpu_nic, -by)


def load(fabric: Fabric, paths: Paths, kind: LinkKind) -> Floats:
    """Connections on each link of a kind."""
    return np.bincount(paths.link, paths.share, fabric.num_links)[fabric.link_kind == kind]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fabric", [HPN, DCN, single_tor(8)], ids=["hpn7", "dcn_plus", "single"])
def test_every_byte_leaves_its_card_and_arrives_at_the_other(fabric: Fabric, policy: Policy) -> None:
    src, dst = shifted(fabric, fabric.num_gpus // 2)
    paths = choose(Routes(fabric), src, dst, policy=policy, qps=3, spray_paths=16)
    assert len(paths.lost) == 0
    assert len(paths.hops) == 3 * len(src)
    for at in range(len(paths.hops)):
        links, share = paths.links_of(at), paths.share[paths.start[at] : paths.start[at + 1]]
        balance = np.bincount(fabric.dst[links], share, fabric.num_nodes)
        balance -= np.bincount(fabric.src[links], share, fabric.num_nodes)
        expected = np.zeros(fabric.num_nodes)
        expected[[src[at // 3], dst[at // 3]]] = -1, 1
        np.testing.assert_allclose(balance, expected, atol=1e-12)
        np.testing.assert_allclose(paths.latency_s[at], (share * fabric.latency_s[links]).sum())


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_paths(policy: Policy) -> None:
    src, dst = shifted(DCN, 32)
    one, two, other = (choose(Routes(DCN), src, dst, policy=policy, qps=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.link, two.link)
    assert np.array_equal(one.share, two.share)
    assert one.link.tolist() != other.link.tolist() or one.share.tolist() != other.share.tolist()


def test_a_flow_keeps_its_path_whoever_else_is_there() -> None:
    src, dst = shifted(DCN, 32)
    keys = np.arange(len(src), dtype=np.int32)
    routes = Routes(DCN)
    all_ = choose(routes, src, dst, qps=2, flow_key=keys)
    some = np.array([3, 17, 40])
    few = choose(routes, src[some], dst[some], qps=2, flow_key=keys[some])
    for at, flow in enumerate(some):
        for queue_pair in range(2):
            assert few.links_of(2 * at + queue_pair).tolist() == all_.links_of(2 * flow + queue_pair).tolist()


def test_one_card_to_itself_needs_no_link() -> None:
    nic = HPN.gpu_nic[:1]
    paths = choose(Routes(HPN), nic, nic)
    assert paths.hops.tolist() == [0]
    assert len(paths.lost) == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_who_can_not_be_reached_is_listed(policy: Policy) -> None:
    fabric = single_tor(4)
    routes = Routes(fabric)
    link = fabric.find_link("nic-1:tor-0")
    routes.health.link_up[link] = False
    routes.update([link])
    src, dst = shifted(fabric, 1)
    paths = choose(routes, src, dst, policy=policy, qps=2)
    assert paths.lost.tolist() == [0, 1, 2, 3]  # both queue pairs of 0 → 1 and of 1 → 2
    assert (paths.hops[4:] > 0).all()
    assert (paths.src_port[:4] == NOWHERE).all()


def test_nobody_asks_for_anything() -> None:
    none = np.zeros(0, np.int32)
    for policy in POLICIES:
        paths = choose(Routes(HPN), none, none, policy=policy)
        assert len(paths.hops) == len(paths.link) == 0


def test_disjoint_spreads_where_hashing_collides() -> None:
    """HPN at full size: 128 cards of a rail cross segments over a ToR's 60 uplinks; 4 to 5 of 256 each is the best."""
    fabric = build("hpn7", gpus=2048)
    src, dst = shifted(fabric, 1024)
    routes = Routes(fabric)
    most = {
        policy: max(load(fabric, choose(routes, src, dst, policy=policy, qps=4), LinkKind.FABRIC))
        for policy in ("ecmp", "disjoint", "planned")
    }
    assert most["disjoint"] == most["planned"] == 5
    assert most["ecmp"] >= 12


def test_ports_of_a_card_share_its_queue_pairs() -> None:
    src, dst = shifted(HPN, 32)
    paths = choose(Routes(HPN), src, dst, policy="disjoint", qps=2)
    access = load(HPN, paths, LinkKind.ACCESS)
    assert set(access.tolist()) == {1.0}


def test_dual_plane_packets_arrive_in_the_plane_they_left_in() -> None:
    src, dst = shifted(HPN, 32)
    for policy in POLICIES:
        paths = choose(Routes(HPN), src, dst, policy=policy, qps=2, spray_paths=1)
        for at in range(len(paths.hops)):
            planes = HPN.plane[HPN.dst[paths.links_of(at)[:-1]]]
            assert len(set(planes.tolist())) == 1


def test_chosen_source_ports_are_what_the_switch_hashes_say() -> None:
    """Handing the ports back to the switches gives the planned paths: no path is wishful."""
    src, dst = shifted(HPN, 32)
    model = HashModel(seeds=(5, 6, 7))
    routes = Routes(HPN)
    paths = choose(routes, src, dst, policy="disjoint", qps=2, hash=model)
    assert paths.src_port.min() >= FIRST_PORT
    for at in range(len(paths.hops)):
        links = paths.links_of(at)
        tor = HPN.src[links[1:2]]
        up = routes.candidates(tor, routes.group(dst[at // 2 : at // 2 + 1]))[1]
        port = paths.src_port[at : at + 1].astype(np.uint32)
        ends = [HPN.index[one[at // 2 : at // 2 + 1]].astype(np.uint32) + np.uint32(0x0A000001) for one in (src, dst)]
        word = model.spread(model.of_tuple(ends[0], ends[1], port), tor, np.array([Kind.TOR], np.int8))
        assert up[word[0] % len(up)] == links[1]


def test_equal_seeds_leave_links_unused_and_switch_seeds_do_not() -> None:
    """Polarisation in three tiers (HPN §2.2)."""
    fabric = build("dcn_plus", gpus=2048)
    src, dst = shifted(fabric, 1024)
    routes = Routes(fabric)
    used = {}
    for name, model in (("equal", HashModel()), ("own", HashModel(seed_per="switch"))):
        paths = choose(routes, src, dst, qps=8, hash=model)
        used[name] = int((load(fabric, paths, LinkKind.CORE) > 0).sum())
    assert used["own"] > 1.5 * used["equal"]


def test_spray_is_nearly_even() -> None:
    src, dst = shifted(HPN, 32)
    paths = choose(Routes(HPN), src, dst, policy="spray", spray_paths=128)
    fabric_load = load(HPN, paths, LinkKind.FABRIC)
    assert fabric_load.max() < 1.6 * fabric_load[fabric_load > 0].mean()
    assert (paths.hops == 4).all()
    assert (paths.src_port == NOWHERE).all()


def test_heavy_flows_are_kept_apart() -> None:
    """planned: two elephants among mice never share an uplink."""
    fabric = small_hpn(aggs_per_plane=2)
    src, dst = shifted(fabric, 32)
    weight = np.ones(len(src))
    elephants = [0, 8]  # rail 0 of two servers of one segment: the same two ToRs
    weight[elephants] = 100
    paths = choose(Routes(fabric), src, dst, policy="planned", qps=2, weight=weight)
    heavy = [set(paths.links_of(2 * flow + qp)[1:3].tolist()) for flow in elephants for qp in range(2)]
    assert all(not a & b for i, a in enumerate(heavy) for b in heavy[:i])


@pytest.mark.parametrize(("num", "qps", "spray"), [(2, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_counts_that_make_no_sense(num: int, qps: int, spray: int) -> None:
    with pytest.raises(ValueError, match="one source and one destination"):
        choose(Routes(HPN), HPN.gpu_nic[:num], HPN.gpu_nic[:1], qps=qps, spray_paths=spray)


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=60), st.integers(1, 8))
def test_messages_go_where_least_is_outstanding(sizes: list[float], num: int) -> None:
    pool = Connections(num)
    posted: list[list[float]] = [[] for _ in range(num)]
    for at, size in enumerate(sizes):
        chosen = pool.post(size)
        assert sum(posted[chosen]) <= min(map(sum, posted)) * (1 + 1e-9)
        posted[chosen].append(size)
        if at % 3 == 2:
            slow = max(range(num), key=lambda one: sum(posted[one]))
            pool.complete(slow, posted[slow].pop(0))
    np.testing.assert_allclose(pool.outstanding_bytes, [sum(one) for one in posted], rtol=1e-9, atol=1e-3)


def test_connections_are_not_fooled() -> None:
    pool = Connections(2)
    pool.post(10.0)
    with pytest.raises(ValueError, match="completes 20"):
        pool.complete(0, 20.0)
    with pytest.raises(ValueError, match="at least one"):
        Connections(0)
