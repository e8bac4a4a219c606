"""What of every node is free, as arrays, changed one placement at a time.

Rows are nodes in the order given (which is also the order ties are broken in), columns are devices. Every change
appends the node to `log`: whoever caches something per node reads the log from where it stopped and recomputes those
rows alone, which is what makes a decision on ten thousand nodes cost microseconds. How many nodes have how many whole
devices free is counted along, so most gangs that have no place are refused without a look at any node. A what-if is
made on the state itself and rolled back (`mark`, `undo`): nothing is copied.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from roadbed.scheduler.base import WHOLE, Placement, Shape, Slot
from roadbed.spec.inventory import NodeInfo

Ints = NDArray[np.int64]
_LOG_LIMIT = 1 << 20
_NOTHING: Ints = np.zeros(0, np.int64)


class State:
    """Free capacity of N nodes of at most G devices each.

    left int32[N, G]: free milli of each device, 0 where there is none (`exists`). used_by int32[N, 5]: how many
    placed processes of each class (fraction, 1, 2, 4, 8 devices and the like) a node holds. `schedulable` is False for
    cordoned, failed and risky nodes: they keep what they run and get nothing new.
    """

    def __init__(self, nodes: Sequence[NodeInfo]) -> None:
        self.nodes: list[NodeInfo] = list(nodes)
        self.index = {node.name: at for at, node in enumerate(self.nodes)}
        if len(self.index) != len(self.nodes):
            raise ValueError("two nodes have the same name")
        num = len(self.nodes)
        width = max([node.num_devices for node in self.nodes], default=0) or 1
        self.num_devices = np.array([node.num_devices for node in self.nodes], np.int64)
        self.exists = np.arange(width)[None, :] < self.num_devices[:, None]
        self.left = np.where(self.exists, WHOLE, 0).astype(np.int32)
        self.cpu = np.array([node.cpu_milli for node in self.nodes], np.int64)
        self.memory = np.array([node.memory_mib for node in self.nodes], np.int64)
        self.cpu_left = self.cpu.copy()
        self.memory_left = self.memory.copy()
        self.device_mib = np.array([node.device_memory_mib for node in self.nodes], np.int64)
        self.chips: list[str] = sorted({node.chip for node in self.nodes})
        code = {chip: at for at, chip in enumerate(self.chips)}
        self.chip = np.array([code[node.chip] for node in self.nodes], np.int64)
        self.schedulable = np.array([not node.cordoned for node in self.nodes], bool)
        self.used_by = np.zeros((num, 6), np.int32)
        self._num: list[int] = self.num_devices.tolist()
        self.whole = self.num_devices.copy()  # free devices nobody has a part of, by node
        self.num_with = [0] * (width + 1)  # nodes with so many of them
        for each in self._num:
            self.num_with[each] += 1
        # The same memory once more: single numbers are read and written several times as fast through these.
        self._left, self._used_by = self.left.data, self.used_by.data
        self._cpu_left, self._memory_left = self.cpu_left.data, self.memory_left.data
        self._whole = self.whole.data
        self.num_closed = len(self.nodes) - int(self.schedulable.sum())  # nodes that take nothing new
        self.log: list[int] = []
        self.log_start = 0  # entries dropped from the front of the log
        self._undo: list[tuple[int, Slot, Shape]] = []
        self._marks = 0

    @property
    def num_nodes(self) -> int:
        return len(self.nodes)

    @property
    def total_milli(self) -> int:
        return int(self.num_devices.sum()) * WHOLE

    @property
    def used_milli(self) -> int:
        return self.total_milli - int(self.left.sum())

    def lacks_devices(self, shape: Shape, count: int) -> bool:
        """True: `count` processes can't all fit now, for want of whole devices. False: perhaps they do. O(devices of a
        node)."""
        each = shape.num_devices
        if not each or shape.milli < WHOLE:
            return False
        room, num_with = 0, self.num_with
        for whole in range(each, len(num_with)):
            room += num_with[whole] * (whole // each)
        return room < count

    def host_free(self, node: int) -> tuple[int, int]:
        """Free CPU (thousandths) and memory (MiB) of a node."""
        return self._cpu_left[node], self._memory_left[node]

    def take(self, slot: Slot, shape: Shape) -> None:
        """Gives a process its devices, CPU and memory. ValueError if they are not free: nothing is changed then."""
        node, milli, devices = slot.node, shape.milli, slot.devices
        if len(devices) != shape.num_devices or len(set(devices)) != len(devices):
            raise ValueError(f"{self.nodes[node].name}: {len(devices)} devices for a shape of {shape.num_devices}")
        if self._cpu_left[node] < shape.cpu_milli or self._memory_left[node] < shape.memory_mib:
            raise ValueError(f"{self.nodes[node].name}: CPU or memory is not free")
        left = self._left
        for device in devices:
            if left[node, device] < milli:
                free = left[node, device]
                raise ValueError(f"{self.nodes[node].name}: device {device} has {free} of {milli} milli free")
        self._moved(1, slot, shape)

    def take_free(self, slot: Slot, shape: Shape) -> None:
        """As `take`, of what the caller has just seen to be free."""
        self._moved(1, slot, shape)

    def give(self, slot: Slot, shape: Shape) -> None:
        """Takes back what `take` gave. ValueError if it was not taken: a device never has more than 1000."""
        node, milli = slot.node, shape.milli
        left, num = self._left, self._num[node]
        for device in slot.devices:
            if device >= num or left[node, device] + milli > WHOLE:
                raise ValueError(f"{self.nodes[node].name}: device {device} was not given out")
        info = self.nodes[node]
        over_cpu = self._cpu_left[node] + shape.cpu_milli > info.cpu_milli
        if over_cpu or self._memory_left[node] + shape.memory_mib > info.memory_mib:
            raise ValueError(f"{self.nodes[node].name}: CPU or memory was not given out")
        self._moved(-1, slot, shape)

    def take_all(self, placement: Placement, shape: Shape) -> None:
        """A whole gang or nothing: on ValueError all of it is given back."""
        done: list[Slot] = []
        try:
            for slot in placement.slots:
                self.take(slot, shape)
                done.append(slot)
        except ValueError:
            for slot in reversed(done):
                self.give(slot, shape)
            raise

    def give_all(self, placement: Placement, shape: Shape) -> None:
        for slot in placement.slots:
            self.give(slot, shape)

    def set_schedulable(self, node: int, on: bool) -> None:
        if bool(self.schedulable[node]) != on:
            self.schedulable[node] = on
            self.num_closed += -1 if on else 1
            self._touch(node)

    def mark(self) -> int:
        """Begins a what-if; every change from here on is remembered until `undo` or `keep`. Marks nest."""
        self._marks += 1
        return len(self._undo)

    def undo(self, mark: int) -> None:
        """Takes back everything since the mark."""
        steps = self._undo[mark:]
        del self._undo[mark:]
        marks, self._marks = self._marks - 1, 0
        for sign, slot, shape in reversed(steps):
            self._moved(-sign, slot, shape)
        self._marks = marks

    def keep(self, mark: int) -> None:
        """Ends a what-if and lets its changes stand."""
        self._marks -= 1
        if not self._marks:
            del self._undo[mark:]

    def changed_since(self, position: int) -> tuple[Ints | None, int]:
        """Nodes changed since a position in the log, and the position now. None: too long ago, all may have."""
        end = self.log_start + len(self.log)
        if position < self.log_start:
            return None, end
        if position == end:
            return _NOTHING, end
        fresh = self.log[position - self.log_start :]
        if len(fresh) > self.num_nodes:
            return None, end
        return np.array(list(dict.fromkeys(fresh)), np.int64), end

    def _moved(self, sign: int, slot: Slot, shape: Shape) -> None:
        node, devices = slot.node, slot.devices
        if devices:
            left, milli = self._left, shape.milli
            if milli == WHOLE:
                num = -sign * len(devices)
                after = 0 if sign > 0 else WHOLE
                for device in devices:
                    left[node, device] = after
            else:
                num = 0
                for device in devices:
                    before = left[node, device]
                    after = before - sign * milli
                    left[node, device] = after
                    num += (after == WHOLE) - (before == WHOLE)
            if num:
                whole = self._whole[node]
                self.num_with[whole] -= 1
                self.num_with[whole + num] += 1
                self._whole[node] = whole + num
        if shape.cpu_milli:
            self._cpu_left[node] -= sign * shape.cpu_milli
        if shape.memory_mib:
            self._memory_left[node] -= sign * shape.memory_mib
        self._used_by[node, pod_class(shape)] += sign
        if self._marks:
            self._undo.append((sign, slot, shape))
        self._touch(node)

    def _touch(self, node: int) -> None:
        log = self.log
        log.append(node)
        if len(log) > _LOG_LIMIT:
            drop = len(log) // 2
            del log[:drop]
            self.log_start += drop


def pod_class(shape: Shape) -> int:
    """0 no device, 1 a fraction, 2 one device, 3 two, 4 up to four, 5 more."""
    num = shape.num_devices
    if num == 0:
        return 0
    if shape.milli < WHOLE:
        return 1
    return 2 if num == 1 else 3 if num == 2 else 4 if num <= 4 else 5


def allowed(state: State, shape: Shape) -> NDArray[np.bool_]:
    """Nodes whose fixed properties suit the shape: chip, device memory, number of devices, labels. bool[N]."""
    fits = state.num_devices >= shape.num_devices
    if shape.num_devices:
        if shape.chips:
            fits &= np.isin(state.chip, [at for at, chip in enumerate(state.chips) if chip in shape.chips])
        if shape.min_device_mib:
            fits &= state.device_mib >= shape.min_device_mib
        if shape.max_device_mib:
            fits &= state.device_mib <= shape.max_device_mib
    if shape.labels:
        fits &= np.array([_carries(node, shape.labels) for node in state.nodes], bool)
    return fits


def _carries(node: NodeInfo, labels: Iterable[tuple[str, str]]) -> bool:
    return all(node.labels.get(key) == value for key, value in labels)
