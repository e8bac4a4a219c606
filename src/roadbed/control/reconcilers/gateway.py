"""Keeps the gateway workers running: as many as configured, each again when it died.

A worker that dies leaves requests in flight in the shared account; they are cleared before its successor starts, and
its open ledger entries are settled by ingest. Until the first snapshot exists there is nothing to serve from.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable

import msgspec

from roadbed.control.reconcilers.decide import backoff_s
from roadbed.control.state import State
from roadbed.control.store.event import append_event
from roadbed.errors import RoadbedError
from roadbed.runtime.base import ProcessSpec, ProcessStatus

logger = logging.getLogger(__name__)

PASS_S = 0.5
STABLE_S = 30.0
PREFIX = "gateway-"


class Memory(msgspec.Struct):
    """What is remembered of one worker between passes."""

    num_deaths: int = 0
    start_at: float = 0.0
    died_at: float = -1.0


class StartWorker(msgspec.Struct, frozen=True, tag=True):
    index: int


class StopWorker(msgspec.Struct, frozen=True, tag=True):
    process: str


class NoteDeath(msgspec.Struct, frozen=True, tag=True):
    index: int
    how: str


GatewayAction = StartWorker | StopWorker | NoteDeath


def decide_workers(
    num_workers: int, processes: Iterable[ProcessStatus], memory: dict[int, Memory], now: float
) -> list[GatewayAction]:
    """The next actions; pure but for `memory`, which it keeps up to date: deaths counted, next start times."""
    by_name = {status.name: status for status in processes}
    actions: list[GatewayAction] = []
    wanted = {f"{PREFIX}{index}" for index in range(num_workers)}
    for name in by_name:
        if name not in wanted and by_name[name].state == "running":
            actions.append(StopWorker(name))
    for index in range(num_workers):
        status = by_name.get(f"{PREFIX}{index}")
        seen = memory.setdefault(index, Memory())
        if status is not None and status.state != "exited":
            continue
        exited_at = None if status is None else status.exited_at or status.started_at
        if status is not None and exited_at is not None and exited_at != seen.died_at:
            stable = exited_at - status.started_at >= STABLE_S
            seen.num_deaths = 1 if stable else seen.num_deaths + 1
            seen.died_at = exited_at
            # The first death is answered at once: a worker that was killed should be back before anyone notices.
            seen.start_at = exited_at + (0.0 if seen.num_deaths == 1 else backoff_s(seen.num_deaths - 1))
            how = f"signal {status.signal}" if status.signal is not None else f"exit code {status.exit_code}"
            actions.append(NoteDeath(index, how))
        if now >= seen.start_at:
            actions.append(StartWorker(index))
    return actions


class GatewayReconciler:
    """`one_pass` is what the loop runs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._memory: dict[int, Memory] = {}

    async def one_pass(self) -> float:
        """Starts, stops and notes what differs from the wish; returns the seconds until the next look."""
        if not self._state.home.snapshot.exists():
            return PASS_S / 5
        listed = await self._state.runtime.list()
        workers = [status for status in listed if status.labels.get("noun") == "gateway"]
        now = self._state.store.clock()
        num_workers = self._state.config.gateway.workers
        for action in decide_workers(num_workers, workers, self._memory, now):
            match action:
                case NoteDeath(index=index, how=how):
                    await self._note(index, "gateway.died", f"its process ended with {how}")
                case StartWorker(index=index):
                    await self._start(index)
                case StopWorker(process=process):
                    self._state.spawn(self._stop(process), f"stop {process}")
        return PASS_S

    async def _start(self, index: int) -> None:
        if self._state.account is not None:
            self._state.account.reset_worker(index)
        await self._note(index, "gateway.starting", "starts")
        argv = (sys.executable, "-m", "roadbed.gateway.worker", "--home", str(self._state.home.root))
        await self._state.runtime.start(
            ProcessSpec(
                name=f"{PREFIX}{index}",
                argv=(*argv, "--index", str(index)),
                labels={"noun": "gateway", "worker": str(index)},
                stop_grace_s=self._state.config.gateway.drain_timeout + 5.0,
            )
        )

    async def _stop(self, process: str) -> None:
        try:
            await self._state.runtime.stop(process)
        except RoadbedError as error:
            logger.warning("stopping %s: %s", process, error)

    async def _note(self, index: int, code: str, message: str) -> None:
        await asyncio.to_thread(self._write, index, code, message)

    def _write(self, index: int, code: str, message: str) -> None:
        with self._state.store.write("usage") as connection:
            append_event(
                connection, self._state.store.clock(), noun="gateway", name=f"{PREFIX}{index}", code=code,
                message=message,
            )  # fmt: skip
