"""Asks every ready engine for its load, for the routers (shared account) and for people (memory).

Eight failures in a row over at least twenty seconds make a replica hung: one slow answer of a busy engine must not
restart it, and an engine that answers nobody must not stay.
"""

import asyncio
import logging
from collections import deque

import msgspec

from roadbed.control.state import LoadSample, State
from roadbed.control.store.event import append_event
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.engine.base import LoadReport
from roadbed.errors import RoadbedError
from roadbed.router.base import ReplicaReport

logger = logging.getLogger(__name__)

HUNG_AFTER = 8
HUNG_AFTER_S = 20.0
ASK_TIMEOUT_S = 5.0
NUM_SAMPLES = 300


class Health(msgspec.Struct):
    """Failures in a row of one replica, and when the first of them was."""

    num_failures: int = 0
    first_at: float = 0.0

    def failed(self, now: float) -> bool:
        """Counts one; True from the moment the replica is taken for hung."""
        if self.num_failures == 0:
            self.first_at = now
        self.num_failures += 1
        return self.num_failures >= HUNG_AFTER and now - self.first_at >= HUNG_AFTER_S

    def answered(self) -> None:
        self.num_failures = 0


class LoadPoller:
    """`one_pass` is what the loop runs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._health: dict[str, Health] = {}

    async def one_pass(self) -> float:
        rows = await asyncio.to_thread(self._read)
        ids = {row.id for row in rows}
        self._health = {key: health for key, health in self._health.items() if key in ids}
        await asyncio.gather(*(self._ask(row) for row in rows))
        return self._state.config.control.load_interval

    def _read(self) -> list[ReplicaRow]:
        with self._state.store.read() as connection:
            return [row for row in list_replicas(connection) if row.state in ("ready", "draining")]

    async def _ask(self, row: ReplicaRow) -> None:
        health = self._health.setdefault(row.id, Health())
        try:
            adapter = self._state.create_engine(row.spec.engine)
            async with asyncio.timeout(ASK_TIMEOUT_S):
                report = await adapter.load(adapter.endpoint(row.idx, row.port))
        except (RoadbedError, OSError, TimeoutError) as error:
            logger.debug("%s: no load report: %r", row.id, error)
            if health.failed(self._state.store.clock()) and row.id not in self._state.hung:
                await asyncio.to_thread(self._suspect, row, health, error)
                self._state.hung.add(row.id)
            return
        health.answered()
        self._state.hung.discard(row.id)
        self._keep(row, report)

    def _keep(self, row: ReplicaRow, report: LoadReport) -> None:
        now = self._state.store.clock()
        samples = self._state.loads.setdefault(row.id, deque(maxlen=NUM_SAMPLES))
        samples.append(LoadSample(at=now, report=report, tokens_per_s=_speed(samples, report, now)))
        if self._state.account is not None:
            self._state.account.write_report(
                row.slot,
                ReplicaReport(
                    at=now, num_running=report.num_running, num_waiting=report.num_waiting, kv_usage=report.kv_usage
                ),
            )

    def _suspect(self, row: ReplicaRow, health: Health, error: Exception) -> None:
        now = self._state.store.clock()
        message = f"{health.num_failures} health checks failed in a row over {now - health.first_at:.0f} s: {error}"
        with self._state.store.write() as connection:
            append_event(connection, now, noun="replica", name=row.id, code="replica.suspected", message=message)


def _speed(samples: deque[LoadSample], report: LoadReport, now: float) -> float:
    """Tokens/s since the last sample; 0 where the engine does not count or began again."""
    if not samples or report.num_tokens_total is None:
        return 0.0
    last = samples[-1]
    before = last.report.num_tokens_total
    if before is None or before > report.num_tokens_total or now <= last.at:
        return 0.0
    return (report.num_tokens_total - before) / (now - last.at)
