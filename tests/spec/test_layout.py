"""Rules to coordinates: even, ragged and listed domains, islands that span servers, ToRs, numbers that go on."""

from collections import Counter

import pytest

from roadbed.errors import SpecError
from roadbed.spec.cluster import Cluster, inventory
from roadbed.spec.inventory import NodeInfo
from roadbed.spec.layout import MAX_NODES
from roadbed.spec.load import load_value


def nodes(*groups: dict[str, object]) -> list[NodeInfo]:
    spec = load_value({"kind": "cluster", "name": "c", "nodes": list(groups)})
    assert isinstance(spec, Cluster)
    return inventory(spec)


def group(count: int, **rules: object) -> dict[str, object]:
    server = rules.pop("server", "hgx-h100")
    return {"server": server, "name": f"{rules.pop('name', 'n')}", "count": count, **rules}


def sizes(found: list[NodeInfo]) -> dict[str, int]:
    return dict(Counter(node.segment for node in found))


def test_evenly_over_segments_larger_ones_first() -> None:
    assert sizes(nodes(group(11, segments=4))) == {
        "pod-0/seg-0": 3, "pod-0/seg-1": 3, "pod-0/seg-2": 3, "pod-0/seg-3": 2,
    }  # fmt: skip


def test_full_segments_and_a_ragged_last_one() -> None:
    assert list(sizes(nodes(group(32, nodes_per_segment=15))).values()) == [15, 15, 2]


def test_a_pod_of_fifteen_thousand_accelerators() -> None:
    found = nodes(group(1920, nodes_per_segment=128, tors={"per": "rail", "num": 2}))
    assert sum(node.num_devices for node in found) == 15_360
    assert set(sizes(found).values()) == {128}
    assert len(sizes(found)) == 15
    assert {len(node.tors) for node in found} == {16}
    assert len({tor for node in found for tor in node.tors}) == 15 * 16


def test_pods_share_evenly_and_segments_lie_in_one_pod() -> None:
    found = nodes(group(20, pods=2, segments=4))
    assert sizes(found) == {"pod-0/seg-0": 5, "pod-0/seg-1": 5, "pod-1/seg-0": 5, "pod-1/seg-1": 5}
    assert all(node.segment.startswith(f"{node.pod}/") for node in found)


def test_numbers_go_on_from_entry_to_entry() -> None:
    found = nodes(group(4, segments=2), group(2, name="m"), group(2, name="p", pods=2))
    assert list(sizes(found)) == ["pod-0/seg-0", "pod-0/seg-1", "pod-0/seg-2", "pod-1/seg-0", "pod-2/seg-0"]


def test_entries_meet_only_where_both_say_so() -> None:
    found = nodes(group(2, segment="seg-0"), group(2, name="m"), group(2, name="p", segment="seg-0"))
    assert sizes(found) == {"pod-0/seg-0": 4, "pod-0/seg-1": 2}


def test_ragged_domains_are_listed() -> None:
    listed = [{"nodes": 7, "segment": "a"}, {"nodes": 3, "segment": "b", "pod": "far"}]
    assert sizes(nodes(group(10, pod="near", domains=listed))) == {"near/a": 7, "far/b": 3}


def test_islands_span_trays_and_begin_anew_with_each_segment() -> None:
    found = nodes(group(40, server="nvl72-tray", segments=2))
    assert list(Counter(node.island for node in found).values()) == [18, 2, 18, 2]
    assert {node.island for node in nodes(group(4, server="nvl72-tray", nodes_per_island=1))} == {""}


def test_ragged_islands_are_listed() -> None:
    found = nodes(group(29, server="nvl72-tray", islands=[18, 11]))
    assert list(Counter(node.island for node in found).items()) == [("island-0", 18), ("island-1", 11)]


def test_tors() -> None:
    assert nodes(group(1, tors={"per": "segment", "num": 2}))[0].tors == ("pod-0/seg-0/tor-0", "pod-0/seg-0/tor-1")
    assert nodes(group(1, server="t4-4", tors={"per": "rail"}))[0].tors == ("pod-0/seg-0/rail-0/tor-0",)
    assert nodes(group(1, server="cpu-node", tors={"per": "rail"}))[0].tors == ()


@pytest.mark.parametrize(
    ("rules", "key", "words"),
    [
        ({"segments": 5}, "segments", "4 nodes leave some of the 5 segments empty"),
        ({"pods": 5}, "pods", "4 nodes leave some of the 5 pods empty"),
        ({"domains": [{"nodes": 3, "segment": "a"}]}, "domains", "list 3 nodes of 4"),
        ({"islands": [2, 3]}, "islands", "list 5 nodes of 4"),
        ({"islands": [3, 1], "segments": 2}, "islands", "the island of 3 at place 0 would lie in two segments"),
        ({"server": "ascend-16", "nodes_per_island": 2}, "nodes_per_island", "ascend-16 has islands inside"),
        ({"name": "n[0-1]"}, "count", "4 is not the 2 nodes"),
    ],
)
def test_rules_that_do_not_come_out_even(rules: dict[str, object], key: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        nodes(group(4, **rules))
    assert caught.value.field == f"nodes.0.{key}"
    assert words in caught.value.message


def test_a_cluster_has_an_end() -> None:
    with pytest.raises(SpecError, match=f"more than the {MAX_NODES} a cluster can have"):
        nodes(group(60_000), group(60_000, name="m"))
