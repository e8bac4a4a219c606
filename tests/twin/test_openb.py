"""The trace as published is read whole; what is wrong in it is said with its line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.twin.openb import read_nodes, read_pods, workload_name

DATA = Path(__file__).parents[1] / "data"
NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"


def test_nodes_as_published() -> None:
    nodes = read_nodes(DATA / "openb_nodes.csv")
    assert len(nodes) == 40
    assert nodes[0].name.startswith("openb-node-")
    assert {node.chip for node in nodes} <= {"G2", "G3", "T4", "P100", "V100M16", "V100M32", "A10"}
    assert all(node.num_devices in (1, 2, 4, 8) and node.cpu_milli > 0 for node in nodes)


def test_pods_as_published() -> None:
    pods = read_pods(DATA / "openb_pod_list_slice.csv")
    assert len(pods) == 280
    assert [pod.name for pod in pods] == sorted(pod.name for pod in pods)
    shapes = [pod.shape for pod in pods]
    assert any(0 < shape.milli < 1000 for shape in shapes)
    assert any(shape.num_devices == 0 and shape.total_milli == 0 for shape in shapes)
    assert any(shape.num_devices == 8 for shape in shapes)


def test_a_pod_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(PODS + "b,8000,100,2,1000,V100M32|V100M16\na,500,7,1,230,\nc,1,2,0,0,\n")
    a, b, c = (pod.shape for pod in read_pods(path))
    assert (b.num_devices, b.milli, b.cpu_milli, b.memory_mib) == (2, 1000, 8000, 100)
    assert b.chips == ("V100M16", "V100M32")
    assert (a.num_devices, a.milli, a.chips) == (1, 230, ())
    assert (c.num_devices, c.total_milli) == (0, 0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("n,-1,1,0,", "p.csv:2: cpu_milli is -1, below 0"),
        ("n,1,1,2,", "p.csv:2: 2 devices of no model"),
        (",1,1,2,T4", "p.csv:2: sn is empty"),
        ("n,1,1,2000,T4", "p.csv:2: gpu is 2000, above 1024"),
        ("n,1,1,0,\nn,1,1,0,", "node 'n' is there twice"),
        ("", "holds no nodes"),
    ],
)
def test_nodes_that_make_no_sense(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(NODES + row)
    with pytest.raises(SpecError) as raised:
        read_nodes(path)
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,1,1,1,0,", "p.csv:2: gpu_milli is 0, below 1"),
        ("a,1,1,1,1001,", "p.csv:2: gpu_milli is 1001, above 1000"),
        ("a,1,1,-1,1000,", "p.csv:2: num_gpu is -1, below 0"),
        ("a,1,1,0.5,1000,", "no whole number"),
        ("a,1,1,0,0,\na,1,1,0,0,", "p.csv:3: pod 'a' is there twice"),
        (",1,1,0,0,", "name is empty"),
        ("", "holds no pods"),
    ],
)
def test_pods_that_make_no_sense(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(PODS + row)
    with pytest.raises(SpecError) as raised:
        read_pods(path)
    assert words in raised.value.message


CELL = st.sampled_from(["", "a", "1", "1000", "-3", "0.5", "1e9", "nan", "T4|T4", "x y"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.lists(CELL, min_size=4, max_size=7), max_size=4))
def test_any_cells_are_pods_or_our_error(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "p.csv"
    for header, read in ((PODS, read_pods), (NODES, read_nodes)):
        path.write_text(header + "\n".join(",".join(row) for row in rows))
        try:
            assert read(path)
        except SpecError as error:
            assert str(path) in error.message


def test_names_of_workloads() -> None:
    assert workload_name(Path("x/openb_pod_list_cpu037.csv")) == "cpu037"
    assert workload_name(Path("mine.csv")) == "mine"
