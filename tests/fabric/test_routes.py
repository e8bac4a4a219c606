"""Routes: against a search that goes up, then down, one link at a time; and what failures do to them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.base import NOWHERE, Fabric, Health, Ints, Kind, LinkKind
from roadbed.fabric.registry import build
from roadbed.fabric.routes import FAR, Routes
from tests.fabric.networks import single_tor, small_dcn, small_hpn

FABRICS = {
    "hpn7": small_hpn(),
    "hpn7, one plane": small_hpn(planes=1),
    "hpn7, pods": small_hpn(gpus=96, segments=1, pods=6),
    "dcn_plus": small_dcn(),
    "dcn_plus, pods": small_dcn(gpus=96, segments=2, pods=3),
    "single ToR": single_tor(8),
}


def _works(fabric: Fabric, health: Health, link: int) -> bool:
    back = int(fabric.reverse[link])
    return all(one != NOWHERE and health.link_up[one] and health.capacity[one] > 0 for one in (link, back))


def _next_of(fabric: Fabric, health: Health, node: int) -> list[tuple[int, int]]:
    return [(int(one), int(fabric.dst[one])) for one in fabric.leaving(node) if _works(fabric, health, int(one))]


def slow_tables(fabric: Fabric, health: Health, nic: int) -> tuple[dict[int, int], dict[int, int]]:
    """Hops from each switch to a card, going only down and going up first: relaxed until nothing changes."""
    switches = [n for n in range(fabric.num_nodes) if fabric.kind[n] >= Kind.TOR]
    down = dict.fromkeys(switches, FAR)
    up = dict.fromkeys(switches, FAR)
    for _ in range(5):
        for node in switches:
            for _link, there in _next_of(fabric, health, node):
                if there == nic:
                    down[node] = 1
                elif there in down and fabric.kind[there] < fabric.kind[node]:
                    down[node] = min(down[node], down[there] + 1)
    for _ in range(5):
        for node in switches:
            up[node] = min(up[node], down[node])
            for _link, there in _next_of(fabric, health, node):
                if there in up and fabric.kind[there] > fabric.kind[node]:
                    up[node] = min(up[node], up[there] + 1)
    return down, up


def agree(fabric: Fabric, health: Health, routes: Routes, nic: int) -> None:
    group = int(routes.nic_group[nic - routes.first_nic])
    down, up = slow_tables(fabric, health, nic)
    if group == NOWHERE:
        assert set(up.values()) == {FAR}
        return
    switches = np.array(sorted(down), np.int32)
    assert routes.down[:, group].tolist() == [min(down[int(s)], FAR) for s in switches]
    assert routes.up[:, group].tolist() == [min(up[int(s)], FAR) for s in switches]
    start, links = routes.candidates(switches, np.full(len(switches), group, np.int32))
    for at, node in enumerate(switches.tolist()):
        falls = down[node] < FAR
        table, goal = (down, down[node] - 1) if falls else (up, up[node] - 1)
        wanted = [
            link
            for link, there in _next_of(fabric, health, node)
            if table.get(there) == goal and goal > 0 and (fabric.kind[there] < fabric.kind[node]) == falls
        ]
        assert links[start[at] : start[at + 1]].tolist() == wanted


@pytest.mark.parametrize("name", FABRICS)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_equals_the_search_whatever_breaks_and_heals(name: str, data: st.DataObject) -> None:
    """Step by step through `update`, which must give what a fresh start gives."""
    fabric = FABRICS[name]
    health = Health.of(fabric)
    routes = Routes(fabric, health)
    network = np.flatnonzero(fabric.link_kind >= LinkKind.ACCESS).tolist()
    nic = int(fabric.gpu_nic[data.draw(st.integers(0, fabric.num_gpus - 1))])
    near = [int(one) for one in fabric.leaving(nic) if fabric.link_kind[one] == LinkKind.ACCESS]
    for _ in range(data.draw(st.integers(1, 4))):
        some = data.draw(st.lists(st.sampled_from(network + near * 20), min_size=1, max_size=12))
        broken = data.draw(st.sampled_from(["down", "up", "no capacity"]))
        health.link_up[some] = broken != "down"
        health.capacity[some] = 0.0 if broken == "no capacity" else fabric.capacity[some]
        routes.update(some)
        agree(fabric, health, routes, nic)
    fresh = Routes(fabric, health)
    mine, its = routes.nic_group, fresh.nic_group
    assert ((mine == NOWHERE) == (its == NOWHERE)).all()
    some_nics = np.flatnonzero(mine != NOWHERE)
    assert np.array_equal(routes.up[:, mine[some_nics]], fresh.up[:, its[some_nics]])


def _one(value: int) -> Ints:
    return np.array([value], np.int32)


def test_single_tor_a_card_without_its_link_is_lost() -> None:
    fabric = FABRICS["single ToR"]
    routes = Routes(fabric)
    nic, other = fabric.find_node("nic-0"), fabric.find_node("nic-5")
    assert routes.slots(_one(other), _one(nic)).any()
    link = fabric.find_link("nic-0:tor-0")
    routes.health.link_up[link] = False
    assert routes.update([link])
    assert routes.group(_one(nic)).tolist() == [NOWHERE]
    assert not routes.slots(_one(other), _one(nic)).any()
    assert not routes.slots(_one(nic), _one(other)).any()


def test_dual_tor_withdraws_the_route_and_traffic_arrives_by_the_other_tor() -> None:
    """Single plane: the Aggs' two equal ways to a card become one (/32 withdrawal, HPN §5)."""
    fabric = FABRICS["dcn_plus"]
    routes = Routes(fabric)
    nic, agg = fabric.find_node("nic-0"), fabric.find_node("agg-0")
    assert len(routes.candidates(_one(agg), routes.group(_one(nic)))[1]) == 4
    link = fabric.find_link("nic-0:tor-0")
    routes.health.link_up[link] = False
    routes.update([link])
    left = routes.candidates(_one(agg), routes.group(_one(nic)))[1]
    assert {fabric.node_name(int(fabric.dst[one])) for one in left} == {"tor-1"}
    tor = fabric.find_node("tor-0")
    assert routes.up[tor - routes.first_switch, routes.group(_one(nic))].tolist() == [3]


def test_dual_plane_the_source_must_take_the_other_port() -> None:
    fabric = FABRICS["hpn7"]
    routes = Routes(fabric)
    nic, far = fabric.find_node("nic-0"), fabric.find_node("nic-16")
    assert routes.slots(_one(far), _one(nic)).tolist() == [[True, True]]
    link = int(routes.ports[0, 0])
    routes.health.link_up[link] = False
    routes.update([link])
    assert routes.slots(_one(far), _one(nic)).tolist() == [[False, True]]
    assert routes.slots(_one(nic), _one(far)).tolist() == [[False, True]]


def test_one_way_links_are_named_and_not_used() -> None:
    fabric = FABRICS["hpn7"]
    health = Health.of(fabric)
    link = fabric.find_link("tor-0:agg-0")
    health.link_up[fabric.reverse[link]] = False
    routes = Routes(fabric, health)
    assert routes.one_way().tolist() == [link]
    far = routes.group(_one(fabric.find_node("nic-16")))
    tor = fabric.find_node("tor-0")
    assert link not in routes.candidates(_one(tor), far)[1]
    blind = Routes(fabric, health, one_way=True)
    assert link in blind.candidates(_one(tor), far)[1]


def test_no_news_changes_nothing() -> None:
    routes = Routes(FABRICS["hpn7"])
    assert not routes.update([0, 1, 2])


def test_cores_forward_by_port() -> None:
    """What comes in on the nth port of a pod goes out on the nth port towards the other; a dead one means hashing."""
    fabric = FABRICS["hpn7, pods"]
    routes = Routes(fabric)
    core = fabric.find_node("core-0")
    leaving = [int(one) for one in fabric.leaving(core)]
    by_pod = {pod: [one for one in leaving if fabric.pod[fabric.dst[one]] == pod] for pod in range(2)}
    target = next(
        int(nic) for nic in fabric.gpu_nic
        if fabric.pod[nic] == 1 and routes.down[core - routes.first_switch, routes.group(_one(int(nic)))][0] < FAR
    )  # fmt: skip
    ingress = _one(int(fabric.reverse[by_pod[0][0]]))
    out = routes.fixed_egress(ingress, _one(target), routes.group(_one(target)))
    assert out.tolist() == [by_pod[1][0]]
    routes.health.link_up[out] = False
    routes.update(out.tolist())
    assert routes.fixed_egress(ingress, _one(target), routes.group(_one(target))).tolist() == [NOWHERE]


def test_a_link_of_several_cables_is_named_by_the_hash() -> None:
    fabric = FABRICS["single ToR"]
    routes = Routes(fabric)
    nic = fabric.find_node("nic-0")
    for word in (0, 1, 12_345):
        last = routes.last_links(_one(fabric.find_node("tor-0")), _one(nic), np.array([word], np.uint32))
        assert fabric.link_name(int(last[0])) == "tor-0:nic-0"


def test_a_full_pod_is_ready_at_once() -> None:
    fabric = build("hpn7", gpus=15_360)
    routes = Routes(fabric)
    assert routes.down.shape[1] == 120
    assert (routes.slots(fabric.gpu_nic, np.roll(fabric.gpu_nic, 1024))).all()
