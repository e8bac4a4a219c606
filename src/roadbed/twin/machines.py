"""The machines of a scenario, from either of the two ways they are written down."""

from pathlib import Path

from roadbed.errors import NotFoundError, SpecError
from roadbed.spec.cluster import Cluster, inventory
from roadbed.spec.inventory import NodeInfo
from roadbed.spec.load import load_file
from roadbed.twin.openb import read_nodes

_YAML = (".yaml", ".yml", ".json")


def read_machines(path: Path) -> list[NodeInfo]:
    """Nodes of a YAML document of `kind: cluster`, or of an openb nodes CSV. SpecError, NotFoundError, UsageError."""
    if path.suffix.lower() not in _YAML:
        return read_nodes(path)
    if not path.exists():
        raise NotFoundError(f"there is no file {path}", hint=f"ls {path.parent}")
    clusters = [spec for spec in load_file(path) if isinstance(spec, Cluster)]
    if len(clusters) != 1:
        words = f"{len(clusters)} clusters in it; one is needed"
        raise SpecError(f"{path}: {words}", hint="roadbed schema cluster", field="kind")
    return inventory(clusters[0])
