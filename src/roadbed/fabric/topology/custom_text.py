"""A network as the text `custom` reads, with as few rules as its regularity allows.

Lower ends that are cabled to the same upper ends in the same way share a rule, and numbers that step evenly are a
range, so a pod of 15,360 GPUs is some hundred lines. Port order within a switch is not kept: a rule lists ends by
number.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import GBIT, Fabric, Kind, LinkKind

MAX_SPANS = 200
"""Ranges of one rule's ends; beyond, it is split in two."""

_Key = tuple[float, float, int, bool]


def write(fabric: Fabric) -> str:
    """The text. UsageError where servers differ: the format has one kind."""
    nics = len(fabric.nodes(Kind.NIC))
    servers = fabric.num_servers
    share = np.arange(fabric.num_gpus) // max(1, fabric.num_gpus // nics)
    if nics % servers or (fabric.gpu_nic != int(fabric.nodes(Kind.NIC)[0]) + share).any():
        raise UsageError("its servers share cards unevenly: it can't be written as rules", field="fabric")
    scale_up = np.unique(fabric.capacity[fabric.link_kind == LinkKind.SCALE_UP]) / GBIT
    if len(scale_up) > 1:
        raise UsageError(f"its scale-up links differ ({scale_up[0]:g} to {scale_up[-1]:g} Gb/s)", field="fabric")
    speed = f"{scale_up[0]:.12g}" if len(scale_up) else "0"
    counts = {kind.name.lower(): len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)}
    per = f"gpus: {fabric.gpus_per_server}, nics: {nics // servers}"
    lines = [
        "fabric: custom",
        f"name: {fabric.name}",
        f"chip: {fabric.chip}",
        f"servers: {{count: {servers}, {per}, scale_up_gbps: {speed}}}",
        f"switches: {{{', '.join(f'{kind}: {num}' for kind, num in counts.items())}}}",
    ]
    rules = [rule for kind in (LinkKind.ACCESS, LinkKind.FABRIC, LinkKind.CORE) for rule in _rules(fabric, kind)]
    return "\n".join([*lines, f"links:{'' if rules else ' []'}", *rules]) + "\n"


def _rules(fabric: Fabric, kind: LinkKind) -> Iterator[str]:
    up = fabric.kind[fabric.src] < fabric.kind[fabric.dst]
    links = np.flatnonzero((fabric.link_kind == kind) & up)
    bundles: dict[tuple[int, int], list[_Key]] = defaultdict(list)
    for link in links.tolist():
        ends = int(fabric.index[fabric.src[link]]), int(fabric.index[fabric.dst[link]])
        gbps, latency_us = float(fabric.capacity[link]) / GBIT, float(fabric.latency_s[link]) * 1e6
        bundles[ends].append((gbps, latency_us, 1, bool(fabric.reverse[link] < 0)))
    alike: dict[_Key, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (a, b), keys in bundles.items():
        for key in dict.fromkeys(keys):
            alike[(*key[:2], keys.count(key), key[3])][a].append(b)
    low, high = (name.name.lower() for name in _ENDS[kind])
    for (gbps, latency_us, cables, one_way), uppers in alike.items():
        together: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for a, found in uppers.items():
            together[tuple(sorted(found))].append(a)
        rest = f"gbps: {gbps:.12g}, latency_us: {latency_us:.9g}, cables: {cables}" + (
            ", one_way: true" if one_way else ""
        )
        for found_b, found_a in together.items():
            for left in _chunks(spans(found_a)):
                for right in _chunks(spans(found_b)):
                    yield f'  - {{from: "{low}-[{left}]", to: "{high}-[{right}]", {rest}}}'


_ENDS = {
    LinkKind.ACCESS: (Kind.NIC, Kind.TOR),
    LinkKind.FABRIC: (Kind.TOR, Kind.AGG),
    LinkKind.CORE: (Kind.AGG, Kind.CORE),
}


def spans(numbers: Iterable[int]) -> list[str]:
    """Ascending numbers as `0-56/8`, `3`, `10-12`: greedily, a run of three or more with one step is a range."""
    rest = sorted(numbers)
    found: list[str] = []
    at = 0
    while at < len(rest):
        end = at + 1
        step = rest[end] - rest[at] if end < len(rest) else 0
        while end < len(rest) and rest[end] - rest[end - 1] == step:
            end += 1
        if end - at < 3:
            found.append(str(rest[at]))
            at += 1
            continue
        found.append(f"{rest[at]}-{rest[end - 1]}" + (f"/{step}" if step > 1 else ""))
        at = end
    return found


def _chunks(parts: Sequence[str]) -> Iterator[str]:
    for at in range(0, len(parts), MAX_SPANS):
        yield ",".join(parts[at : at + MAX_SPANS])
