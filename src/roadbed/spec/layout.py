"""Where each machine stands: the rules of a cluster document turned into pods, segments, islands and ToRs.

Nodes are laid out in the order of their names, as runs: so many nodes in this segment of that pod. What a rule numbers
goes on from entry to entry (`seg-0`, `seg-1`, … within a pod, `pod-0`, … and `island-0`, … in the cluster) and skips
names that are taken, so no entry joins a segment of another without naming it.

What does not come out even is complained about at the key that says so; the layout goes on with what is left, so that
one reading finds all of it.
"""

import difflib
import itertools
from collections.abc import Iterator, Sequence

import msgspec

from roadbed.hardware.servers import Server
from roadbed.spec.base import Complaints
from roadbed.spec.hostlist import expand
from roadbed.spec.inventory import NodeInfo

MAX_NODES = 100_000


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `nodes`, defaults filled in."""

    index: int
    server: Server
    device_memory_mib: int
    pattern: str | None
    count: int | None
    cpu_milli: int
    memory_mib: int
    pod: str | None
    num_pods: int | None
    segment: str | None
    num_segments: int | None
    nodes_per_segment: int | None
    domains: tuple[tuple[int, str | None, str], ...]
    """(nodes, pod, segment)"""
    nodes_per_island: int
    islands: tuple[int, ...]
    tors_per_rail: int
    tors_per_segment: int
    labels: dict[str, str]
    cordoned: bool


class _Run(msgspec.Struct, frozen=True):
    """So many nodes in one segment."""

    num: int
    pod: str
    segment: str


class _Uneven(Exception):
    """A rule that does not come out even; `key` of the entry says so."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def lay_out(groups: Sequence[Group], cordon: Sequence[str], found: Complaints) -> list[NodeInfo]:
    """The nodes of all entries, in order. What is wrong is added to `found`, at ("nodes", i, key) or ("cordon", i)."""
    layout = _Layout()
    nodes: list[NodeInfo] = []
    first: dict[str, int] = {}
    for group in groups:
        try:
            names = _names(group, MAX_NODES - len(nodes))
            _refuse_known(names, first, group)
            nodes.extend(layout.place(group, names))
        except _Uneven as problem:
            found.add(("nodes", group.index, problem.key), str(problem))
    return _cordoned(nodes, cordon, found)


def _names(group: Group, limit: int) -> list[str]:
    if group.pattern is None and group.count is None:
        raise _Uneven("server", "says not how many: add count, or a name such as gpu[000-127]")
    if group.pattern is None or ("[" not in group.pattern and group.count is not None):
        num, stem = group.count or 0, group.pattern or group.server.name
        if num > limit:
            raise _Uneven("count", f"{num} nodes are more than the {MAX_NODES} a cluster can have")
        width = len(str(num - 1))
        return [f"{stem}-{number:0{width}d}" for number in range(num)]
    try:
        names = expand(group.pattern, limit)
    except ValueError as error:
        raise _Uneven("name", str(error)) from error
    if group.count is not None and group.count != len(names):
        raise _Uneven("count", f"{group.count} is not the {len(names)} nodes that {group.pattern!r} names")
    return names


def _refuse_known(names: Sequence[str], first: dict[str, int], group: Group) -> None:
    """Notes whose the names are; a name of an earlier entry is refused."""
    for name in names:
        owner = first.setdefault(name, group.index)
        if owner != group.index:
            raise _Uneven("name", f"node {name!r} is there already, in nodes[{owner}]; the ranges overlap")


class _Layout:
    """What has been numbered so far."""

    def __init__(self) -> None:
        self._segments_taken: set[str] = set()
        self._pods: set[str] = set()
        self._num_islands = 0

    def place(self, group: Group, names: Sequence[str]) -> Iterator[NodeInfo]:
        """The entry's nodes with their coordinates. Raises _Uneven before the first."""
        runs = list(self._runs(group, len(names)))
        islands = self._islands(group, runs)
        self._pods.update(run.pod for run in runs)
        self._segments_taken.update(run.segment for run in runs)
        return self._nodes(group, names, runs, islands)

    def _runs(self, group: Group, num: int) -> Iterator[_Run]:
        if group.domains:
            listed = sum(size for size, _, _ in group.domains)
            if listed != num:
                raise _Uneven("domains", f"list {listed} nodes of {num}")
            for size, pod, segment in group.domains:
                where = pod or group.pod or "pod-0"
                yield _Run(size, where, f"{where}/{segment}")
            return
        pods = self._new_pods(group.num_pods) if group.num_pods else [group.pod or "pod-0"]
        for pod, size in zip(pods, _evenly(num, len(pods), "pods"), strict=True):
            yield from self._in_pod(group, pod, size, len(pods))

    def _in_pod(self, group: Group, pod: str, num: int, num_pods: int) -> Iterator[_Run]:
        if group.segment is not None:
            yield _Run(num, pod, f"{pod}/{group.segment}")
            return
        if group.nodes_per_segment:
            sizes = _chunks(num, group.nodes_per_segment)
        else:
            sizes = _evenly(num, (group.num_segments or num_pods) // num_pods, "segments")
        names = (name for number in itertools.count() if (name := f"{pod}/seg-{number}") not in self._segments_taken)
        for size, name in zip(sizes, names, strict=False):
            yield _Run(size, pod, name)

    def _new_pods(self, num: int) -> list[str]:
        """The next numbers that no entry has named."""
        names = (name for number in itertools.count() if (name := f"pod-{number}") not in self._pods)
        return list(itertools.islice(names, num))

    def _islands(self, group: Group, runs: Sequence[_Run]) -> list[str]:
        """Per node its island's name, "" where none is wider than the server."""
        num = sum(run.num for run in runs)
        if not group.islands and group.nodes_per_island == 1:
            return [""] * num
        if len(set(group.server.device_islands)) > 1:
            key = "islands" if group.islands else "nodes_per_island"
            raise _Uneven(key, f"{group.server.name} has islands inside; none of them spans servers")
        sizes = list(group.islands)
        if not sizes:
            sizes = [size for run in runs for size in _chunks(run.num, group.nodes_per_island)]
        elif sum(sizes) != num:
            raise _Uneven("islands", f"list {sum(sizes)} nodes of {num}")
        else:
            _refuse_crossing(sizes, runs)
        names: list[str] = []
        for size in sizes:
            names.extend([f"island-{self._num_islands}"] * size)
            self._num_islands += 1
        return names

    def _nodes(
        self, group: Group, names: Sequence[str], runs: Sequence[_Run], islands: Sequence[str]
    ) -> Iterator[NodeInfo]:
        server = group.server
        at = 0
        for run in runs:
            tors = tuple(_tors(group, run.segment))
            for index in range(at, at + run.num):
                yield NodeInfo(
                    name=names[index],
                    cpu_milli=group.cpu_milli,
                    memory_mib=group.memory_mib,
                    chip=server.chip,
                    num_devices=server.num_devices,
                    device_memory_mib=group.device_memory_mib,
                    pod=run.pod,
                    segment=run.segment,
                    island=islands[index],
                    device_islands=server.device_islands,
                    rails=server.rails,
                    tors=tors,
                    labels=group.labels,
                    cordoned=group.cordoned,
                )
            at += run.num


def _evenly(num: int, parts: int, key: str) -> list[int]:
    """Sizes that differ by one at most, larger ones first."""
    if parts > num:
        raise _Uneven(key, f"{num} nodes leave some of the {parts} {key} empty")
    return [num // parts + (part < num % parts) for part in range(parts)]


def _chunks(num: int, size: int) -> list[int]:
    """Full ones, and what is left over."""
    return [min(size, num - at) for at in range(0, num, size)]


def _refuse_crossing(sizes: Sequence[int], runs: Sequence[_Run]) -> None:
    """An island lies in one segment."""
    ends, end = set(), 0
    for run in runs:
        end += run.num
        ends.add(end)
    at = 0
    for index, size in enumerate(sizes):
        if any(at < end < at + size for end in ends):
            raise _Uneven("islands", f"the island of {size} at place {index} would lie in two segments")
        at += size


def _tors(group: Group, segment: str) -> Iterator[str]:
    server = group.server
    if group.tors_per_rail:
        rails = sorted(set(server.rails or range(server.num_devices)))
        yield from (f"{segment}/rail-{rail}/tor-{tor}" for rail in rails for tor in range(group.tors_per_rail))
    yield from (f"{segment}/tor-{tor}" for tor in range(group.tors_per_segment))


def _cordoned(nodes: list[NodeInfo], cordon: Sequence[str], found: Complaints) -> list[NodeInfo]:
    known = {node.name for node in nodes}
    named: set[str] = set()
    for index, pattern in enumerate(cordon):
        try:
            names = expand(pattern, MAX_NODES)
        except ValueError as error:
            found.add(("cordon", index), str(error))
            continue
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            close = difflib.get_close_matches(unknown, sorted(known)[:1000], n=1)
            found.add(
                ("cordon", index), f"there is no node {unknown!r}" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        named.update(names)
    return [msgspec.structs.replace(node, cordoned=True) if node.name in named else node for node in nodes]
