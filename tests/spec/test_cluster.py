"""Cluster documents: what inventory comes out, and that every lie is refused on its line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.hardware.servers import SERVERS
from roadbed.spec.cluster import Cluster, chips_of, inventory
from roadbed.spec.inventory import NodeInfo, check_nodes
from roadbed.spec.load import load_text, load_value

HEAD = "kind: cluster\nname: west\n"


def cluster(text: str) -> Cluster:
    (spec,) = load_text(HEAD + text)
    assert isinstance(spec, Cluster)
    return spec


def nodes(text: str) -> list[NodeInfo]:
    found = inventory(cluster(text))
    check_nodes(found)
    return found


def test_a_template_is_spelled_out_on_every_node() -> None:
    found = nodes('nodes: [{server: ascend-16, name: "npu[00-01]", labels: {zone: a}}]')
    assert [node.name for node in found] == ["npu00", "npu01"]
    assert found[0] == NodeInfo(
        name="npu00",
        cpu_milli=192_000,
        memory_mib=1536 * 1024,
        chip="Ascend-910B",
        num_devices=16,
        device_memory_mib=64 * 1024,
        pod="pod-0",
        segment="pod-0/seg-0",
        device_islands=(0,) * 8 + (1,) * 8,
        rails=tuple(range(16)),
        labels={"zone": "a"},
    )


def test_counted_nodes_are_named_after_their_server() -> None:
    assert [node.name for node in nodes("nodes: [{server: t4-4, count: 11}]")][::5] == ["t4-4-00", "t4-4-05", "t4-4-10"]
    assert [node.name for node in nodes("nodes: [{server: t4-4, name: edge, count: 2}]")] == ["edge-0", "edge-1"]
    assert [node.name for node in nodes("nodes: [{server: t4-4, name: edge}]")] == ["edge"]


def test_overrides_of_cpu_and_memory() -> None:
    (node,) = nodes("nodes: [{server: cpu-node, name: n, cpu: 7.5, memory: 1GiB}]")
    assert (node.cpu_milli, node.memory_mib, node.chip, node.num_devices) == (7500, 1024, "", 0)


def test_chips_and_servers_of_ones_own() -> None:
    text = """
chips:
  G2: {memory: 24GB, flops: {bf16: 1e14}, memory_bandwidth: 600GB, link_bandwidth: 64GB, tdp_w: 150}
servers:
  g2-8: {chip: g2, devices: 8, islands: [0,0,0,0,1,1,1,1], rails: [0,0,1,1,2,2,3,3], cpu: 96, memory: 768GiB, nics: [{gbps: 100}]}
nodes:
  - {server: g2-8, count: 2}
"""
    found = nodes(text)
    assert {(node.chip, node.device_memory_mib, node.num_devices) for node in found} == {("G2", 24576, 8)}
    assert found[0].rails == (0, 0, 1, 1, 2, 2, 3, 3)
    chips = chips_of(cluster(text))
    assert chips["G2"].flops == {"bf16": 1e14}
    assert chips["H100"].vendor == "nvidia"
    spec = cluster(text)
    assert load_value(spec.model_dump(mode="json")) == spec


def test_tasks_may_ask_for_chips_of_a_cluster_in_the_same_text() -> None:
    task = "---\nkind: task\nname: t\ncommand: x\nresources: {gpu: G2:4}\n"
    own = HEAD + "chips: {G2: {memory: 24GB}}\nnodes: [{server: t4-4, count: 1}]\n"
    assert len(load_text(own + task)) == 2
    assert len(load_text(task, chips=["G2"])) == 1
    with pytest.raises(SpecError, match="there is no chip 'G2'"):
        load_text(task)


def test_cordons() -> None:
    found = nodes('nodes: [{server: t4-4, name: "a[0-3]"}, {server: t4-4, name: b, cordon: true}]\ncordon: ["a[1-2]"]')
    assert [node.name for node in found if node.cordoned] == ["a1", "a2", "b"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("nodes:\n  - {server: t4-4, count: 1}\n  - {server: hgx-h10, count: 1}\n", 5, "did you mean 'hgx-h100'?"),
        ("nodes:\n  - server: t4-4\n    name: a[3-1]\n", 5, "the range 3-1 is empty"),
        ("nodes:\n  - server: t4-4\n    name: a[0-3,2]\n", 5, "ranges overlap at 2"),
        ("nodes:\n  - {server: t4-4, name: 'a[0-3]'}\n  - {server: a10-4, name: 'a[3-5]'}\n", 5, "node 'a3' is there already, in nodes[0]"),
        ("nodes:\n  - {server: t4-4}\n", 4, "says not how many"),
        ("nodes:\n  - {server: t4-4, count: -1}\n", 4, "count: Input should be greater than or equal to 1"),
        ("nodes:\n  - {server: t4-4, name: 'a[0-3]', count: 5}\n", 4, "5 is not the 4 nodes"),
        ("nodes:\n  - {server: t4-4, count: 1, cpu: -1}\n", 4, "cpu: Input should be greater than 0"),
        ("nodes:\n  - {server: t4-4, count: 1, memory: -1GB}\n", 4, "'-1GB' is not a size"),
        ("nodes:\n  - {server: t4-4, count: 1, segmets: 3}\n", 4, "did you mean 'segment"),
        ("nodes:\n  - {server: t4-4, count: 4, segments: 2, segment: a}\n", 4, "segment and segments are rules for the same"),
        ("nodes:\n  - {server: t4-4, count: 4, pod: a, pods: 2}\n", 4, "pods and pod are rules for the same"),
        ("nodes:\n  - {server: t4-4, count: 9, pods: 2, segments: 3}\n", 4, "3 segments do not come out even over 2 pods"),
        ("nodes: []\n", 3, "nodes: List should have at least 1 item"),
        ("nodes: [{server: t4-4, name: 'gpu[0-3]'}]\ncordon:\n  - gpu7\n", 5, "there is no node 'gpu7'; did you mean 'gpu"),
        ("nodes: [{server: t4-4, name: 'a[0-3]'}]\ncordon:\n  - 'a['\n", 5, "is not a name such as"),
        ("chips:\n  gpu: {memory: 1GB}\nnodes: [{server: t4-4, count: 1}]\n", 4, "'gpu' has a meaning of its own"),
        ("chips:\n  A B: {memory: 1GB}\nnodes: [{server: t4-4, count: 1}]\n", 4, "'A B' is not the name of a chip"),
        ("chips:\n  X: {memory: 0GB}\nnodes: [{server: t4-4, count: 1}]\n", 4, "is no memory at all"),
        ("chips:\n  X: {memory: 24}\nnodes: [{server: t4-4, count: 1}]\n", 4, "expected the memory of a device"),
        ("servers:\n  s: {chip: H10, devices: 1, cpu: 1, memory: 1GB}\nnodes: [{server: s, count: 1}]\n", 4, "did you mean 'H100'?"),
        ("servers:\n  s: {chip: A100, devices: 1, cpu: 1, memory: 1GB}\nnodes: [{server: s, count: 1}]\n", 4, "A100 is a family"),
        ("servers:\n  s: {chip: T4, cpu: 1, memory: 1GB}\nnodes: [{server: s, count: 1}]\n", 4, "chip and devices go together"),
        ("servers:\n  s: {chip: T4, devices: 2, rails: [0], cpu: 1, memory: 1GB}\nnodes: [{server: s, count: 1}]\n", 4, "rails names 1 devices of 2"),
    ],
)  # fmt: skip
def test_lies_are_refused_on_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(HEAD + text, "c.yaml")
    assert words in caught.value.message
    assert caught.value.message.splitlines()[0].startswith(f"c.yaml:{line}: ")
    assert len(caught.value.message.splitlines()) == 1


def test_all_lies_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        load_text(HEAD + "nodes:\n  - {server: x, count: 1}\n  - {server: t4-4}\ncordon: [b]\n", "c.yaml")
    assert [line.split(":")[1] for line in caught.value.message.splitlines()] == ["4", "5", "6"]


GROUPS = st.fixed_dictionaries(
    {"server": st.sampled_from(sorted(SERVERS))},
    optional={
        "count": st.integers(0, 40),
        "name": st.sampled_from(["a[0-9]", "b[00-19]", "c", "a[5-7]", "["]),
        "pod": st.sampled_from(["pod-0", "pod-1"]),
        "pods": st.integers(1, 3),
        "segment": st.sampled_from(["seg-0", "x"]),
        "segments": st.integers(1, 6),
        "nodes_per_segment": st.integers(1, 12),
        "domains": st.lists(
            st.builds(
                lambda n, s: {"nodes": n, "segment": s}, st.integers(1, 12), st.sampled_from(["x", "y", "seg-1"])
            ),
            max_size=3,
        ),
        "nodes_per_island": st.integers(1, 20),
        "islands": st.lists(st.integers(1, 12), max_size=3),
        "tors": st.sampled_from([{"per": "rail", "num": 2}, {"per": "segment"}]),
        "cordon": st.booleans(),
    },
)


@settings(max_examples=200)
@given(st.lists(GROUPS, min_size=1, max_size=3))
def test_any_document_is_a_sound_inventory_or_a_spec_error(groups: list[dict[str, object]]) -> None:
    try:
        spec = load_value({"kind": "cluster", "name": "c", "nodes": groups})
    except SpecError as caught:
        assert caught.message
        return
    assert isinstance(spec, Cluster)
    found = inventory(spec)
    check_nodes(found)
    assert found == inventory(spec)
    for island in {node.island for node in found} - {""}:
        assert len({node.segment for node in found if node.island == island}) == 1
