"""A whole platform, started and stopped by the installed program, on ports and state of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from roadbed.control.client import ControlClient
from roadbed.home import Home


def free_port() -> int:
    """A loopback port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], timeout_s: float = 30.0, what: str = "the condition") -> Any:
    """The first true answer of `condition`. Raises AssertionError when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} never held")


class Platform:
    """`roadbed` as a user runs it, in one home."""

    def __init__(self, root: Path, models: Path, *, workers: int = 1, config: dict[str, Any] | None = None) -> None:
        self.home = Home(root)
        root.mkdir(parents=True)
        (root / "models").symlink_to(models)
        settings: dict[str, Any] = {
            "gateway": {"port": free_port(), "workers": workers},
            "control": {"port": free_port()},
        }
        for section, values in (config or {}).items():
            settings.setdefault(section, {}).update(values)
        self.home.config.write_text(json.dumps(settings))
        self.gateway = f"http://127.0.0.1:{settings['gateway']['port']}"
        self.key = ""

    def run(self, *args: str, check: bool = True, stdin: str | None = None, timeout_s: float = 180) -> Any:
        """`roadbed ARGS`; raises with its stderr when it fails."""
        environment = {**os.environ, "ROADBED_HOME": str(self.home.root), "ROADBED_API_KEY": self.key}
        done = subprocess.run(
            [sys.executable, "-m", "roadbed.cli", *args],
            env=environment, capture_output=True, text=True, timeout=timeout_s, input=stdin or "", check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"roadbed {' '.join(args)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def up(self, *args: str) -> dict[str, Any]:
        """Starts it; keeps the key."""
        facts: dict[str, Any] = json.loads(self.run("up", "--json", *args).stdout)
        self.key = facts["api_key"] or self.key
        return facts

    def down(self) -> None:
        self.run("down")

    @property
    def control(self) -> ControlClient:
        return ControlClient.find(self.home)

    def processes(self) -> list[psutil.Process]:
        """Every process of this home, found without asking the platform."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            environment = process.info["environ"] or {}
            words = process.info["cmdline"] or []
            mine = environment.get("ROADBED_HOME") == str(self.home.root) or str(self.home.root) in " ".join(words)
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def pid_of(self, name: str) -> int:
        """Of a process the agent runs."""
        from roadbed.runtime.local.client import SyncAgent

        for status in SyncAgent(self.home).list():
            if status.name == name and status.state == "running":
                return status.pid
        raise AssertionError(f"no process {name} runs")

    def kill(self, name: str) -> int:
        """kill −9; returns the pid."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def healthy(self) -> bool:
        """Every service has what it wants; False too while control is away."""
        from roadbed.errors import RoadbedError

        try:
            return bool(self.control.status()["healthy"])
        except RoadbedError:
            return False

    def usage_rows(self) -> list[dict[str, Any]]:
        """Settled requests, from the store itself."""
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM usage")]
