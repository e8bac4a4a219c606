"""Jobs over time: compute, communicate, and again, each at its own pace, sharing links whenever they meet.

A `TrainingLoop` hands the simulation one operation at a time: its sessions start once the compute time has passed and
the next round begins when the last of them has arrived. What contention costs a job is how its rounds stretch.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.errors import UsageError
from roadbed.fabric.collective.run import Prepared
from roadbed.fabric.flows import Flows


class Round(msgspec.Struct, frozen=True):
    """One iteration of a job."""

    begun_s: float
    finished_s: float


class TrainingLoop:
    """A `flows.Program`: rounds of compute_s, then an operation of `size` bytes over the job's sessions."""

    def __init__(
        self, prepared: Prepared, job: int, *, size: float, compute_s: float, first_s: float = 0.0, rounds: int = 0
    ) -> None:
        """first_s: when it begins. rounds: 0 = until the simulation ends. UsageError on sizes below one byte."""
        if size < 1 or compute_s < 0 or first_s < 0:
            raise UsageError("size is at least 1 byte, times are not negative", field="size")
        mine = np.flatnonzero(prepared.job == job).astype(np.int32)
        self._sessions = prepared.sessions.taken(mine)
        self._bytes = prepared.bytes_per_byte[mine] * size
        self._latency = prepared.latency_s[mine]
        self._compute_s, self._first_s, self._most = compute_s, first_s, rounds
        self._waiting = 0
        self._begun = first_s
        self.rounds: list[Round] = []

    def next(self, now_s: float, finished: npt.NDArray[np.int64]) -> Flows | None:
        """The simulation's call: the next operation once all sessions of this one have arrived."""
        self._waiting -= len(finished)
        if self._waiting > 0 or len(self._bytes) == 0:
            return None
        if len(finished):
            self.rounds.append(Round(self._begun, now_s))
            self._begun = now_s
        if self._most and len(self.rounds) >= self._most:
            return None
        self._waiting = len(self._bytes)
        delay = self._compute_s + (0.0 if len(finished) else self._first_s)
        return Flows.of(self._sessions, self._bytes, latency_s=self._latency, delay_s=delay)
