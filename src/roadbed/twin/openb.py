"""The openb trace: nodes and pods of a production GPU cluster, as Alibaba published them (cluster-trace-gpu-v2023).

    nodes   sn, cpu_milli, memory_mib, gpu, model
    pods    name, cpu_milli, memory_mib, num_gpu, gpu_milli, [gpu_spec: "V100M16|V100M32"], [creation_time, …]

Pods are sorted by name, as the trace's own simulator does before it shuffles: an order independent of the file.
"""

from pathlib import Path

import msgspec

from roadbed.errors import SpecError
from roadbed.scheduler.base import WHOLE, Shape
from roadbed.spec.inventory import NodeInfo, check_nodes
from roadbed.twin.table import HINT, read_csv

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
_MAX_DEVICES = 1024
_PREFIX = "openb_pod_list_"


class Pod(msgspec.Struct, frozen=True):
    """One pod: a single process."""

    name: str
    shape: Shape


def read_nodes(path: Path) -> list[NodeInfo]:
    """Nodes in the order of the file. SpecError with the line for what makes no sense, and for a file without any."""
    nodes = []
    for row in read_csv(path, NODE_COLUMNS):
        num, chip = row.integer("gpu", most=_MAX_DEVICES), row.text("model")
        if num and not chip:
            raise row.error(f"{num} devices of no model", "model")
        if not row.has("sn"):
            raise row.error("sn is empty", "sn")
        nodes.append(
            NodeInfo(
                name=row.text("sn"),
                cpu_milli=row.integer("cpu_milli"),
                memory_mib=row.integer("memory_mib"),
                chip=chip if num else "",
                num_devices=num,
            )
        )
    if not nodes:
        raise SpecError(f"{path}: holds no nodes", hint=HINT)
    try:
        check_nodes(nodes)
    except SpecError as error:
        raise SpecError(f"{path}: {error.message}", hint=HINT) from error
    return nodes


def read_pods(path: Path) -> list[Pod]:
    """Pods sorted by name. SpecError with the line for what makes no sense, and for a file without any."""
    pods = []
    seen: set[str] = set()
    for row in read_csv(path, POD_COLUMNS):
        name, num = row.text("name"), row.integer("num_gpu", most=_MAX_DEVICES)
        if not name or name in seen:
            raise row.error(f"pod {name!r} is there twice" if name else "name is empty", "name")
        seen.add(name)
        shape = Shape(
            num_devices=num,
            milli=row.integer("gpu_milli", least=1, most=WHOLE) if num else WHOLE,
            cpu_milli=row.integer("cpu_milli"),
            memory_mib=row.integer("memory_mib"),
            chips=tuple(sorted({chip for chip in row.text("gpu_spec").split("|") if chip})),
        )
        pods.append(Pod(name, shape))
    if not pods:
        raise SpecError(f"{path}: holds no pods", hint=HINT)
    return sorted(pods, key=_name)


def workload_name(path: Path) -> str:
    """`openb_pod_list_default.csv` → `default`; any other file's name without its suffix."""
    return path.stem.removeprefix(_PREFIX)


def _name(pod: Pod) -> str:
    return pod.name
