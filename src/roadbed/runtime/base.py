"""What the control plane asks of a runtime: start this process, stop it, tell me about all of them.

A process is known by its name; names are unique while the process runs. States:

    starting → running → exited          (exit code or signal in the status)
                       ↘ stopping → exited
"""

from typing import Literal, Protocol

import msgspec

ProcessState = Literal["running", "stopping", "exited"]


class ProcessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Kernel limits of one process tree; None = the system's."""

    memory_bytes: int | None = None
    """RLIMIT_DATA of each process: allocation fails beyond it instead of the machine thrashing."""
    num_files: int | None = None
    nice: int = 0
    cpus: tuple[int, ...] | None = None
    """CPU affinity."""


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to run: everything needed to start it again."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    """Added to a small inherited environment (PATH, HOME, LANG, TMPDIR, proxies). Secrets go here, never in argv."""
    cwd: str | None = None
    labels: dict[str, str] = {}
    """Free text the caller gets back from `list`, such as {"service": "chat", "replica": "chat-1"}."""
    limits: ProcessLimits = ProcessLimits()
    stop_grace_s: float = 10.0
    """SIGTERM, this long, then SIGKILL to the whole process group."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows of one process. Times are Unix seconds."""

    name: str
    pid: int
    state: ProcessState
    started_at: float
    exited_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    labels: dict[str, str] = {}
    log_path: str = ""


class Runtime(Protocol):
    """Async; every method may raise RuntimeFailure. Safe to call again after a lost answer: `start` of a running
    name raises ConflictError, `stop` of an exited one returns its status."""

    async def start(self, spec: ProcessSpec) -> ProcessStatus: ...
    async def stop(self, name: str, *, grace_s: float | None = None) -> ProcessStatus: ...
    async def list(self) -> list[ProcessStatus]: ...
    async def forget(self, name: str) -> None:
        """Drops the record of an exited process; its log stays."""
        ...

    async def log_tail(self, name: str, *, num_bytes: int = 16_384) -> bytes: ...
