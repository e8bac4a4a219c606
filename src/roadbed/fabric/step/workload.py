"""Runs a SimAI workload on a fabric: compute as the file says, communication as the network allows.

Lines run in order, forward and then backward. What a layer sends in its forward pass and for its input gradient blocks;
what it sends for its weight gradient overlaps with the rest of the backward pass and shows only where it outlasts it.
The pipeline adds the bubble SimAI's analytical mode counts: (pp − 1) / (vpp · ga) of everything else.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Health, Ints
from roadbed.fabric.collective.base import Op
from roadbed.fabric.collective.chooser import Ways
from roadbed.fabric.collective.run import PathOptions
from roadbed.fabric.step.plan import Dimension
from roadbed.fabric.step.run import Exposed, upward, ways_of
from roadbed.fabric.step.simai import Message, Workload

NS = 1e-9
PHASES = ("fwd", "ig", "wg")


class WorkloadStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a workload file."""

    fabric: str
    gpus: int
    num_layers: int
    step_s: float
    compute_s: float
    bubble_s: float
    pp_s: float
    exposed: list[Exposed]
    phase_s: dict[str, float]
    """Communication of each phase (fwd, ig, wg), hidden or not."""
    cross_segment_bytes: float
    num_jobs: int = 1


def groups_in(workload: Workload, gpus: Ints) -> dict[Dimension, Ints]:
    """GPUs by group: tensor innermost, then data, pipeline outermost; experts over neighbouring tensor groups."""
    if len(gpus) != workload.all_gpus:
        raise UsageError(f"the workload is for {workload.all_gpus} GPUs, not {len(gpus)}", field="gpus")
    grid = gpus.reshape(workload.pp, workload.dp, workload.tp)
    data: Ints = np.moveaxis(grid, 1, -1).reshape(-1, workload.dp)
    stage = workload.all_gpus // workload.pp
    if workload.dp % workload.ep == 0:
        by_ep = grid.reshape(workload.pp, workload.dp // workload.ep, workload.ep, workload.tp)
    else:  # experts take tensor ranks too
        by_ep = gpus.reshape(workload.pp, stage // workload.ep, workload.ep, 1)
    expert: Ints = np.moveaxis(by_ep, 2, -1).reshape(-1, workload.ep)
    copies: Ints = np.moveaxis(by_ep, 1, -1).reshape(-1, by_ep.shape[1])
    stages: Ints = np.moveaxis(grid, 0, -1).reshape(-1, workload.pp)
    return {"tp": grid.reshape(-1, workload.tp), "dp": data, "ep": expert, "expert_dp": copies, "pp": stages}


class _Prices:
    """Solves each (operation, group, algorithm) once; sizes are looked up."""

    def __init__(
        self,
        fabric: Fabric,
        jobs: Sequence[dict[Dimension, Ints]],
        options: PathOptions | None,
        health: Health | None,
    ) -> None:
        self._fabric, self._jobs, self._options, self._health = fabric, jobs, options, health
        self._solved: dict[tuple[Op, Dimension], Ways] = {}

    def num_ranks(self, dimension: Dimension) -> int:
        return int(self._jobs[0][dimension].shape[1])

    def best(self, op: Op, dimension: Dimension, size: float) -> tuple[float, str, float]:
        """Seconds, algorithm, and bytes up from the ToRs, for one message of every group at once."""
        ways = self._solved.get((op, dimension))
        if ways is None:
            rows = np.concatenate([job[dimension] for job in self._jobs])
            ways = self._solved[op, dimension] = ways_of(self._fabric, op, rows, self._options, self._health)
        choice = ways.best(size)
        return choice.seconds, choice.algorithm, upward(self._fabric, choice.link_bytes)


class _Tally:
    """Adds up what one kind of message costs."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Dimension, Op], list[float]] = {}
        self.names: dict[tuple[Dimension, Op], str] = {}
        self.up_bytes = 0.0
        self.phase_s = dict.fromkeys(PHASES, 0.0)

    def add(
        self, phase: str, message: Message, op: Op, seconds: float, exposed: float, name: str, up_bytes: float
    ) -> None:  # fmt: skip
        self.phase_s[phase] += seconds
        row = self.rows.setdefault((message.dimension, op), [0.0, 0.0, 0.0, 0.0])
        for at, value in enumerate((1.0, float(message.size), seconds, exposed)):
            row[at] += value
        self.names[message.dimension, op] = name
        self.up_bytes += up_bytes

    def exposed(self, prices: _Prices) -> list[Exposed]:
        return [
            Exposed(
                dimension=dimension, op=op, algorithm=self.names[dimension, op], num_ranks=prices.num_ranks(dimension),
                size=size / times, times=times, one_s=total / times, total_s=total, exposed_s=shown,
            )
            for (dimension, op), (times, size, total, shown) in self.rows.items()
        ]  # fmt: skip


def run_workload(
    fabric: Fabric,
    workload: Workload,
    placements: Sequence[Ints],
    options: PathOptions | None = None,
    health: Health | None = None,
) -> WorkloadStep:
    """One step of the first job while the others do the same. placements: [jobs] GPUs of each in rank order."""
    if not placements:
        raise UsageError("a step needs GPUs", field="gpus")
    jobs = [groups_in(workload, np.asarray(gpus, np.int32)) for gpus in placements]
    prices = _Prices(fabric, jobs, options, health)
    tally = _Tally()
    compute = sum(sum(layer.compute_ns) + layer.update_ns for layer in workload.layers) * NS
    blocking = 0.0
    for phase in (0, 1):
        for layer in workload.layers:
            blocking += _send(prices, tally, PHASES[phase], layer.messages[phase])
    late = _weight_gradients(prices, tally, workload)
    pp_s = 0.0
    if workload.pp > 1 and workload.pp_comm:
        one, _, up_bytes = prices.best("sendrecv", "pp", float(workload.pp_comm))
        pp_s = 2 * one * workload.vpp * workload.ga
        tally.up_bytes += up_bytes * 2 * workload.vpp * workload.ga
    busy = compute + blocking + late + pp_s
    bubble = (workload.pp - 1) / (workload.vpp * workload.ga) * (busy - late)
    return WorkloadStep(
        fabric=fabric.name,
        gpus=workload.all_gpus,
        num_layers=len(workload.layers),
        step_s=busy + bubble,
        compute_s=compute,
        bubble_s=bubble,
        pp_s=pp_s,
        exposed=tally.exposed(prices),
        phase_s=tally.phase_s,
        cross_segment_bytes=tally.up_bytes,
        num_jobs=len(placements),
    )


def _send(prices: _Prices, tally: _Tally, phase: str, message: Message) -> float:
    """Sends one message that everybody waits for; its seconds."""
    if message.op is None or message.size == 0 or prices.num_ranks(message.dimension) < 2:
        return 0.0
    seconds, name, up_bytes = prices.best(message.op, message.dimension, float(message.size))
    tally.add(phase, message, message.op, seconds, seconds, name, up_bytes)
    return seconds


def _weight_gradients(prices: _Prices, tally: _Tally, workload: Workload) -> float:
    """Seconds after the backward pass until the last gradient is reduced: one message after the other, from the last
    layer to the first, beside the compute that is left."""
    now = sent = 0.0
    for layer in reversed(workload.layers):
        now += (layer.compute_ns[1] + layer.compute_ns[2]) * NS
        message = layer.messages[2]
        if message.op is None or message.size == 0 or prices.num_ranks(message.dimension) < 2:
            continue
        seconds, name, up_bytes = prices.best(message.op, message.dimension, float(message.size))
        sent = max(sent, now) + seconds
        tally.add("wg", message, message.op, seconds, 0.0, name, up_bytes)
    late = max(0.0, sent - now)
    for key, row in tally.rows.items():
        if key[0] in ("dp", "expert_dp") and late and row[3] == 0.0:
            row[3] = late * row[2] / sum(other[2] for (kind, _), other in tally.rows.items() if kind == key[0])
    return late
