"""Both ways to write machines down give the same kind of list."""

from pathlib import Path

import pytest

from roadbed.errors import NotFoundError, SpecError
from roadbed.twin.machines import read_machines

DATA = Path(__file__).parents[1] / "data"
CLUSTER = "kind: cluster\nname: west\nnodes:\n  - {server: hgx-h100, name: 'gpu[00-11]', segments: 3}\n"


def test_csv() -> None:
    assert len(read_machines(DATA / "openb_nodes.csv")) == 40


def test_yaml(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER)
    nodes = read_machines(path)
    assert [node.name for node in nodes][:2] == ["gpu00", "gpu01"]
    assert len({node.segment for node in nodes}) == 3
    assert {node.num_devices for node in nodes} == {8}


def test_one_cluster_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CLUSTER + "---\n" + CLUSTER.replace("west", "east"))
    with pytest.raises(SpecError, match="2 clusters"):
        read_machines(path)
    with pytest.raises(NotFoundError):
        read_machines(tmp_path / "none.yml")
