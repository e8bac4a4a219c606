"""What the benches share: pinned processes, CPU time, a home for a lone gateway worker, dated results."""

import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from roadbed.gateway.snapshot import (
    KeyEntry,
    LimitsEntry,
    ListenEntry,
    PriceEntry,
    ReplicaEntry,
    ServiceEntry,
    Snapshot,
    TenantEntry,
)
from roadbed.home import Home

KEY = "rb_bench_secret"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def pinned(core: int, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a process bound to one core (the last one where there are fewer), output to a file."""
    core = min(core, os.cpu_count() - 1)
    with log.open("wb") as out:
        return subprocess.Popen(
            argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip


@contextmanager
def gateway_process(target: str, home: Home, port: int, upstream_ports: list[int], log: Path) -> Iterator[int]:
    """The gateway under test on core 0, ours or `smg:POLICY`; yields its pid, ends it afterwards."""
    if target.startswith("smg:"):
        urls = [f"http://127.0.0.1:{upstream}" for upstream in upstream_ports]
        argv = [str(Path(sys.executable).parent / "smg"), "launch", "--worker-urls", *urls, "--policy", target[4:]]
        argv += ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
        argv += ["--log-level", "warn"]
    else:
        argv = [sys.executable, "-m", "roadbed.gateway.worker", "--home", str(home.root), "--index", "0"]
    process = pinned(0, argv, log)
    try:
        wait_port(port)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_pinned(core: int, module: str, *args: object) -> dict:
    """Runs `python -m module args` to its end and returns the last JSON line it printed."""
    core = min(core, os.cpu_count() - 1)
    argv = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(
        argv, capture_output=True, check=True, timeout=300, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    return json.loads(done.stdout.splitlines()[-1])


def cpu_s(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_mib(pid: int, field: str = "VmRSS:") -> float:
    """Resident memory of a process, or another field of its status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}")


def wait_port(port: int, timeout_s: float = 30.0) -> None:
    """Returns when something listens. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def free_port() -> int:
    """A loopback port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gateway_home(
    root: Path, port: int, upstream_ports: list[int], *, policy: str = "roadbed", model: str = "stub", **replica: object
) -> Home:
    """A state directory from which one gateway worker serves `model`, with a key, limits, a budget and prices."""
    limits = LimitsEntry(
        requests_per_minute=10**9, tokens_per_minute=10**12, concurrency=10**6, monthly_budget_pico=10**18
    )
    settings: dict = {"max_concurrency": 1000, "kv_tokens": 10**7, "context_tokens": 32_768} | replica
    replicas = tuple(
        ReplicaEntry(id=f"{model}-{i}", slot=i, host="127.0.0.1", port=up, **settings)
        for i, up in enumerate(upstream_ports)
    )
    price = PriceEntry(input_pico=300_000, cached_input_pico=120_000, output_pico=600_000)
    service = ServiceEntry(name=model, models=(model,), policy=policy, price=price, replicas=replicas)
    key = KeyEntry(id="bench", digest=hashlib.sha256(KEY.encode()).hexdigest(), tenant="default", slot=1, limits=limits)
    tenant = TenantEntry(name="default", slot=0, limits=limits)
    listen = ListenEntry(port=port, max_connections=20_000)
    snapshot = Snapshot(version=1, listen=listen, services=(service,), tenants=(tenant,), keys=(key,))
    home = Home(root)
    home.create()
    home.snapshot.write_bytes(msgspec.json.encode(snapshot))
    return home


def save(name: str, command: str, rows: list[dict]) -> Path:
    """Writes a dated result beside the benches."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    path = Path(__file__).parent / "results" / f"{name}-{day}.json"
    path.parent.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
    path.write_text(json.dumps({"date": day, "command": command, "machine": machine, "rows": rows}, indent=1) + "\n")
    return path
