"""The target workload: which shapes are expected, and how often. Fragmentation is measured against it.

After FGD (Weng et al., ATC '23): shapes by how often they occur, the commonest kept until they make up 95 % of all,
renormalised. Capacity is fragmented so far as none of these could use it.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from roadbed.scheduler.base import Shape

POPULARITY = 0.95


class Target(msgspec.Struct, frozen=True):
    """Shapes and their shares; shares sum to 1. Empty: nothing is known, and nothing counts as a fragment.

    kinds: which devices are wanted, however rarely — one device of such chips, memory and labels — and the
    milli-accelerators wanted of it per process. cpu_per_milli: milli-cores wanted per milli-accelerator, over all
    processes, those without a device included.
    """

    shapes: tuple[Shape, ...] = ()
    shares: tuple[float, ...] = ()
    kinds: tuple[tuple[Shape, float], ...] = ()
    cpu_per_milli: float = 0.0


def target_of(shapes: Iterable[Shape], popularity: float = POPULARITY) -> Target:
    """The commonest shapes that together make up `popularity` of all. Memory is no part of a shape here, as in FGD."""
    counts = Counter(_key(shape) for shape in shapes)
    total = sum(counts.values())
    kept: list[tuple[Shape, int]] = []
    seen = 0
    for shape, count in sorted(counts.items(), key=lambda item: (item[1], _order(item[0])), reverse=True):
        if seen >= popularity * total:
            break
        kept.append((shape, count))
        seen += count
    kinds: Counter[Shape] = Counter()
    for shape, count in counts.items():
        if shape.total_milli:
            kinds[_kind(shape)] += count * shape.total_milli
    milli, cpu = sum(kinds.values()), sum(shape.cpu_milli * count for shape, count in counts.items())
    return Target(
        tuple(shape for shape, _ in kept),
        tuple(count / seen for _, count in kept),
        tuple((kind, amount / total) for kind, amount in sorted(kinds.items(), key=lambda item: _order(item[0]))),
        cpu / milli if milli else 0.0,
    )


def _kind(shape: Shape) -> Shape:
    return Shape(
        num_devices=1,
        chips=shape.chips,
        min_device_mib=shape.min_device_mib,
        max_device_mib=shape.max_device_mib,
        labels=shape.labels,
    )


def _key(shape: Shape) -> Shape:
    return Shape(
        num_devices=shape.num_devices,
        milli=shape.milli if shape.num_devices else 0,
        cpu_milli=shape.cpu_milli,
        chips=shape.chips,
        min_device_mib=shape.min_device_mib,
        max_device_mib=shape.max_device_mib,
        labels=shape.labels,
    )


def _order(shape: Shape) -> tuple[object, ...]:
    return (shape.cpu_milli, shape.milli, shape.num_devices, "|".join(shape.chips), shape.labels)
