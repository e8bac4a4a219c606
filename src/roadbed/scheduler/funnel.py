"""Why a gang has no place: the constraints one after another, and how many nodes each leaves over."""

import numpy as np

from roadbed.scheduler.base import WHOLE, Funnel, Gang, Shape, Step
from roadbed.scheduler.state import Ints, State, allowed
from roadbed.scheduler.tree import CLUSTER, TIER_NAMES

NO_NODES = "no_nodes"
NO_CHIP = "no_such_chip"
NO_LABEL = "no_such_label"
CORDONED = "cordoned"
NO_HOST = "no_cpu_or_memory"
NO_DEVICE = "no_free_device"
TOO_FEW = "too_few_places"
NO_DOMAIN = "no_domain"


def funnel(state: State, gang: Gang, amounts: Ints, tier: int) -> Funnel:
    """amounts: processes each domain of `tier`, the widest the gang accepts, has room for now."""
    shape = gang.shape
    steps: list[Step] = []
    left = np.ones(state.num_nodes, bool)
    steps.append(Step(NO_NODES, state.num_nodes, _plural(state.num_nodes, "node")))
    chip = allowed(state, _plain(shape))
    for reason, mask, text in (
        (NO_CHIP, chip, _chip_text(shape)),
        (NO_LABEL, allowed(state, shape), "with the labels " + ", ".join(f"{k}={v}" for k, v in shape.labels)),
        (CORDONED, state.schedulable, "not cordoned"),
        (NO_HOST, _host(state, shape), f"with {_host_text(shape.cpu_milli, shape.memory_mib)} free"),
        (NO_DEVICE, _devices(state, shape), f"with {_amount(shape)} free"),
    ):
        before, before_mask = int(left.sum()), left.copy()
        left &= mask
        now = int(left.sum())
        if not now and reason == NO_HOST:
            text += f" (of one, at most {_best_host(state, before_mask)} are)"
        if now < before or (reason == NO_CHIP and shape.num_devices):
            steps.append(Step(reason, now, text))
        if not now:
            return Funnel(tuple(steps))
    total, most = int(amounts.sum()), int(amounts.max(initial=0))
    if total < gang.num:
        steps.append(Step(TOO_FEW, 0, f"places for all {gang.num} processes at once ({total} now)"))
    elif most < gang.num and tier < CLUSTER:
        text = f"{TIER_NAMES[tier]}s with room for all {gang.num} processes (the best has {most})"
        steps.append(Step(NO_DOMAIN, 0, text))
    elif most < gang.num:
        steps.append(Step(TOO_FEW, 0, f"places for all {gang.num} processes at once ({most} in whole slices)"))
    return Funnel(tuple(steps))


def _plain(shape: Shape) -> Shape:
    return Shape(
        num_devices=shape.num_devices,
        chips=shape.chips,
        min_device_mib=shape.min_device_mib,
        max_device_mib=shape.max_device_mib,
    )


def _host(state: State, shape: Shape) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return (state.cpu_left >= shape.cpu_milli) & (state.memory_left >= shape.memory_mib)


def _host_text(cpu_milli: int, memory_mib: int) -> str:
    memory = f"{memory_mib / 1024:.1f} GiB" if memory_mib >= 1024 else f"{memory_mib} MiB"
    return f"{_plural(cpu_milli / 1000, 'core')} and {memory}"


def _best_host(state: State, nodes: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> str:
    """The most CPU and the most memory any of the nodes has free, for a sense of how far off it is."""
    return _host_text(int(state.cpu_left[nodes].max(initial=0)), int(state.memory_left[nodes].max(initial=0)))


def _plural(count: float, noun: str) -> str:
    return noun + ("" if count == 1 else "s") if noun == "node" else f"{count:g} {noun}{'' if count == 1 else 's'}"


def _devices(state: State, shape: Shape) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if not shape.num_devices:
        return np.ones(state.num_nodes, bool)
    enough: np.ndarray[tuple[int], np.dtype[np.bool_]] = (state.left >= shape.milli).sum(1) >= shape.num_devices
    return enough


def _chip_text(shape: Shape) -> str:
    if not shape.num_devices:
        return "of any kind"
    kind = " or ".join(shape.chips) if shape.chips else "accelerators"
    if shape.min_device_mib:
        kind += f" of at least {shape.min_device_mib / 1024:g} GiB"
    return f"with {shape.num_devices} × {kind}" if shape.num_devices > 1 else f"with {kind}"


def _amount(shape: Shape) -> str:
    if shape.milli < WHOLE:
        return f"{shape.milli / WHOLE:g} of a device"
    return f"{shape.num_devices} device{'' if shape.num_devices == 1 else 's'}"
