"""The agent's processes by name: running names are unique, exits are kept until forgotten (the last 1000)."""

import asyncio
import logging
import os
import resource
from collections import OrderedDict

from roadbed.errors import ConflictError, NotFoundError
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec, ProcessStatus
from roadbed.runtime.local.guard import Guard
from roadbed.runtime.local.launch import INHERITED, launch
from roadbed.runtime.local.logs import tail
from roadbed.runtime.local.process import Process
from roadbed.runtime.local.protocol import check_process_name

MAX_EXITS = 1000
MARKER = "ROADBED_AGENT"
DEFAULT_STOP_ORDER = 5

_log = logging.getLogger(__name__)


class ProcessTable:
    """All methods run on the agent's loop."""

    def __init__(self, home: Home, guard: Guard, marker_value: str, *, max_exits: int = MAX_EXITS) -> None:
        self._home = home
        self._guard = guard
        self._marker_value = marker_value
        self._max_exits = max_exits
        self._live: dict[str, Process] = {}
        self._exits: OrderedDict[str, Process] = OrderedDict()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))  # a pipe and a log per process
        self._closing = False

    @property
    def num_live(self) -> int:
        return len(self._live)

    def start(self, spec: ProcessSpec, *, inherit_all: bool = False) -> Process:
        """Raises ConflictError for a name in use, UsageError for a bad spec, RuntimeFailure if it can't be run."""
        check_process_name(spec.name)
        if self._closing:
            raise ConflictError(f"{spec.name}: the agent is shutting down", hint="roadbed up")
        if spec.name in self._live:
            raise ConflictError(
                f"process {spec.name} already runs (pid {self._live[spec.name].pid})", hint=f"roadbed logs {spec.name}"
            )
        inherited = dict(os.environ) if inherit_all else {k: os.environ[k] for k in INHERITED if k in os.environ}
        popen, output_fd = launch(spec, inherited | spec.env | {MARKER: self._marker_value}, self._files)
        process = Process(spec, popen, output_fd, self._home.logs / spec.name)
        self._guard.add(process.pid, process.ticks)
        self._live[spec.name] = process
        self._exits.pop(spec.name, None)
        _log.info("%s started, pid %d", spec.name, process.pid)
        return process

    async def stop(self, name: str, grace_s: float | None = None) -> ProcessStatus:
        """Its status once it is gone; the old status when it was gone already."""
        process = self.find(name)
        await process.stop(grace_s)
        return process.status()

    def list(self) -> list[ProcessStatus]:
        """Exited ones first, oldest first."""
        return [process.status() for process in (*self._exits.values(), *self._live.values())]

    def forget(self, name: str) -> None:
        """Idempotent for names nobody knows; raises ConflictError while it runs."""
        if name in self._live:
            raise ConflictError(f"process {name} still runs", hint="roadbed ps")
        self._exits.pop(name, None)

    def log_tail(self, name: str, num_bytes: int) -> bytes:
        """The present or last run's output; for a forgotten process, whatever its log still holds."""
        check_process_name(name)
        process = self._live.get(name) or self._exits.get(name)
        if process is not None:
            return process.log_tail(num_bytes)
        directory = self._home.logs / name
        if not directory.is_dir():
            raise NotFoundError(f"no process and no log named {name}", hint="roadbed ps", field="name")
        return tail(directory, num_bytes)

    def find(self, name: str) -> Process:
        process = self._live.get(name) or self._exits.get(name)
        if process is None:
            raise NotFoundError(f"no process named {name}", hint="roadbed ps", field="name")
        return process

    def reap(self) -> None:
        """On SIGCHLD: records every exit."""
        for process in list(self._live.values()):
            process.reap(self._record_exit)

    async def close(self) -> None:
        """Stops everything, lowest label "stop_order" first (control 0, gateways 1, engines later), then refuses."""
        self._closing = True
        orders = sorted({stop_order(process.spec) for process in self._live.values()})
        for order in orders:
            chosen = [process for process in self._live.values() if stop_order(process.spec) == order]
            results = await asyncio.gather(*(process.stop(None) for process in chosen), return_exceptions=True)
            for process, result in zip(chosen, results, strict=True):
                if isinstance(result, BaseException):
                    _log.error("%s did not stop: %s", process.spec.name, result)

    def _record_exit(self, process: Process) -> None:
        name = process.spec.name
        self._guard.remove(process.pid)
        del self._live[name]
        self._exits[name] = process
        while len(self._exits) > self._max_exits:
            self._exits.popitem(last=False)
        status = process.status()
        _log.info("%s exited, code %s, signal %s", name, status.exit_code, status.signal)


def stop_order(spec: ProcessSpec) -> int:
    """Label "stop_order", 5 when absent or not a number."""
    text = spec.labels.get("stop_order", "")
    return int(text) if text.isdecimal() and len(text) < 4 else DEFAULT_STOP_ORDER
