"""The topology as nested partitions: every node in one domain of each tier, sums that add up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadbed.scheduler.tree import CLUSTER, ISLAND, POD, SEGMENT, SERVER, Tree
from roadbed.spec.inventory import NodeInfo
from tests.scheduler.cluster import nodes


def test_domains_of_a_small_cluster() -> None:
    tree = Tree(nodes(8))
    assert tree.num == [8, 8, 4, 2, 1]
    assert tree.of[SEGMENT].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [group.tolist() for group in tree.members[POD]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert tree.children[POD][1].tolist() == [2, 3]
    assert tree.up(SERVER, np.ones(8, np.int64)).tolist() == [1] * 8
    assert tree.up(ISLAND, np.arange(8)).tolist() == [1, 5, 9, 13]
    assert not tree.flat


def test_islands_span_servers_only_where_they_are_named() -> None:
    machines = [
        NodeInfo(name=f"n{at}", cpu_milli=1, memory_mib=1, segment="s", island=island)
        for at, island in enumerate(["a", "a", "", "b", ""])
    ]
    tree = Tree(machines)
    assert tree.of[ISLAND].tolist() == [0, 0, 1, 2, 3]
    assert Tree(machines[2:3]).flat


def test_no_nodes_is_a_tree_too() -> None:
    assert Tree([]).num[:4] == [0, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30))
def test_every_tier_partitions_the_nodes_and_nests_in_the_next(places: list[tuple[int, int, int]]) -> None:
    machines = [
        NodeInfo(
            name=f"n{at}", cpu_milli=1, memory_mib=1, pod=f"p{pod}", segment=f"p{pod}/s{segment}",
            island="" if island < 0 else f"i{island}",
        )
        for at, (pod, segment, island) in enumerate(places)
    ]  # fmt: skip
    tree = Tree(machines)
    amounts = np.arange(1, len(machines) + 1)
    for tier in range(CLUSTER + 1):
        assert sorted(np.concatenate(tree.members[tier]).tolist()) == list(range(len(machines)))
        if tier < CLUSTER:
            assert (tree.parent[tier][tree.of[tier]] == tree.of[tier + 1]).all()
            amounts = tree.up(tier, amounts)
    assert amounts.tolist() == [len(machines) * (len(machines) + 1) // 2]
