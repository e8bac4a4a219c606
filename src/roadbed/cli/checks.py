"""What `doctor` looks at: each check is a function of a Machine that answers with findings and a fix that can be run.

Nothing here raises for a sick machine: that a part is missing is the answer, not an error. ok = fine, warning = works,
with a limit one should know, failed = something will not work.
"""

import importlib
import importlib.util
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from roadbed.cli.base import human_bytes, plural
from roadbed.errors import RoadbedError
from roadbed.home import Home
from roadbed.spec.platform import PlatformConfig

MIN_PYTHON = (3, 11)
MIN_MEMORY_BYTES = 2 * 2**30
MIN_DISK_BYTES = 5 * 2**30
MIN_FILES = 4096
MAX_QUICK_CHECK_BYTES = 512 * 2**20
"""A larger file is opened but not read through: that would take minutes."""
NVIDIA_TIMEOUT_S = 10.0
PIP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Finding:
    """One row: what was checked, how it is, in words, and what to run if it is not well."""

    check: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


@dataclass
class Machine:
    """What the checks look at. `platform` is what the control API said, None when it does not answer."""

    home: Home
    config: PlatformConfig
    config_error: str = ""
    agent_pid: int | None = None
    platform: dict[str, Any] | None = None
    network: bool = False


Check = Callable[[Machine], Iterator[Finding]]


def check_python(machine: Machine) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info[:2] >= MIN_PYTHON
    yield Finding("python", "ok" if good else "failed", f"{version} at {sys.executable}", "" if good else "make setup")


def check_cpu(machine: Machine) -> Iterator[Finding]:
    usable, installed = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    detail = f"{plural(usable, 'core')} usable" + ("" if usable == installed else f" of {installed}")
    allowed = machine.config.node.cpu
    if allowed is not None and allowed > usable:
        yield Finding("cpu", "warning", f"{detail}, but node.cpu hands out {allowed:g}", "set node.cpu in config.yaml")
    elif usable < 2:
        yield Finding("cpu", "warning", f"{detail}: engine and gateway share it", "use a machine with 2 or more cores")
    else:
        yield Finding("cpu", "ok", f"{detail}; an engine gets {plural(usable - 1, 'thread')}")


def check_memory(machine: Machine) -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{human_bytes(memory.available)} free of {human_bytes(memory.total)}"
    if memory.available < MIN_MEMORY_BYTES:
        yield Finding("memory", "warning", detail, "ps aux --sort=-rss | head")
    else:
        yield Finding("memory", "ok", detail)


def check_disk(machine: Machine) -> Iterator[Finding]:
    place = machine.home.root
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    detail = f"{human_bytes(usage.free)} free for {machine.home.root}"
    if not os.access(place, os.W_OK):
        yield Finding("disk", "failed", f"{place} is not writable", "export ROADBED_HOME=DIRECTORY")
    elif usage.free < MIN_DISK_BYTES:
        yield Finding("disk", "warning", detail, f"df -h {place}")
    else:
        yield Finding("disk", "ok", detail)


def check_files(machine: Machine) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(MIN_FILES, machine.config.gateway.max_connections * 2)
    if 0 <= soft < wanted:
        ceiling = "unlimited" if hard < 0 else hard
        detail = f"{soft} open files; gateway.max_connections asks for {wanted} (hard limit {ceiling})"
        yield Finding("open files", "warning", detail, f"ulimit -n {wanted}")
    else:
        yield Finding("open files", "ok", "unlimited" if soft < 0 else str(soft))


def check_config(machine: Machine) -> Iterator[Finding]:
    if machine.config_error:
        yield Finding("config", "failed", machine.config_error, "roadbed schema config")
    else:
        yield Finding("config", "ok", str(machine.home.config) if machine.home.config.exists() else "all defaults")


def check_ports(machine: Machine) -> Iterator[Finding]:
    gateway, control = machine.config.gateway, machine.config.control
    for name, host, port in (("gateway", gateway.host, gateway.port), ("control", control.host, control.port)):
        if machine.agent_pid is not None:
            yield Finding(f"port {name}", "ok", f"{port}: our platform's")
            continue
        reason = _taken(host, port)
        fix = f"ss -ltnp 'sport = :{port}'   or set {name}.port in config.yaml"
        yield Finding(f"port {name}", "failed" if reason else "ok", f"{host}:{port} {reason or 'free'}", reason and fix)


def check_packages(machine: Machine) -> Iterator[Finding]:
    needed = [("xllamacpp", "llama.cpp engine"), ("uvloop", "gateway event loop"), ("httptools", "gateway parser")]
    if "postgres" in (machine.config.control.database_url or ""):
        needed.append(("psycopg", "PostgreSQL driver"))
    for module, what in needed:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            extra = "roadbed[postgres]" if module == "psycopg" else module
            yield Finding(what, "failed", str(error), f"{sys.executable} -m pip install '{extra}'")
        else:
            yield Finding(what, "ok", module)


def check_database(machine: Machine) -> Iterator[Finding]:
    """Connects without migrating: looking must not change anything."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    url = machine.config.control.database_url
    if url is None and not machine.home.database.exists():
        yield Finding("database", "ok", "none yet; `roadbed up` makes it")
        return
    try:
        parsed = make_url(url or f"sqlite:///file:{machine.home.database}?mode=ro&uri=true")
        shown = parsed.render_as_string(hide_password=True) if url else str(machine.home.database)
        engine = create_engine(parsed)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
                small = url is None and machine.home.database.stat().st_size < MAX_QUICK_CHECK_BYTES
                sick = _sqlite_check(connection) if small else ""
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        yield Finding("database", "failed", said, "check control.database_url in config.yaml")
        return
    yield Finding("database", "failed" if sick else "ok", sick or shown, sick and f"restore {machine.home.database}")


def check_models(machine: Machine) -> Iterator[Finding]:
    """Every model that is here has its whole size; hashing terabytes is `models pull`'s work, not ours."""
    from roadbed.models.store import ModelStore

    models = ModelStore(machine.home.models).list()
    for model in models:
        size = model.path.stat().st_size if model.path.is_file() else model.size_bytes
        if size != model.size_bytes:
            detail = f"{model.source}: {size} bytes, should be {model.size_bytes}"
            yield Finding("models", "failed", detail, f"roadbed models rm '{model.source}' -y")
    total = human_bytes(sum(model.size_bytes for model in models))
    yield Finding("models", "ok", f"{len(models)} here, {total}" if models else "none yet; `roadbed up` fetches one")


def check_platform(machine: Machine) -> Iterator[Finding]:
    if machine.agent_pid is None:
        yield Finding("platform", "ok", "not running; start it with: roadbed up")
        return
    yield Finding("agent", "ok", f"pid {machine.agent_pid}")
    if machine.platform is None:
        yield Finding("control", "failed", "does not answer", "roadbed logs control")
        return
    yield Finding("control", "ok", "answers")
    workers = [p for p in machine.platform["processes"] if p["labels"].get("noun") == "gateway"]
    num_running = sum(process["state"] == "running" for process in workers)
    detail = f"{num_running} of {plural(machine.config.gateway.workers, 'worker')} running"
    well = num_running >= machine.config.gateway.workers
    yield Finding("gateway", "ok" if well else "failed", detail, "" if well else "roadbed logs gateway-0")
    for row in machine.platform["services"]:
        detail = f"{row['num_ready']} of {plural(row['num_desired'], 'replica')} ready"
        well = row["num_ready"] >= row["num_needed"]
        fix = "" if well else f"roadbed explain {row['name']}"
        yield Finding(f"service {row['name']}", "ok" if well else "warning", detail, fix)


def check_gpu(machine: Machine) -> Iterator[Finding]:
    """Having none is fine; having one whose driver does not answer is not."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    tool = shutil.which("nvidia-smi")
    if tool is None:
        detail = f"{plural(len(cards), 'NVIDIA card')}, but no nvidia-smi" if cards else "none; engines use the CPU"
        yield Finding("gpu", "warning" if cards else "ok", detail, "install the driver's utilities" if cards else "")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        text = (getattr(error, "stdout", None) or getattr(error, "stderr", None) or str(error)).strip()
        yield Finding("gpu", "warning", text.splitlines()[0] if text else "nvidia-smi failed", "nvidia-smi")
        return
    names = [line.strip() for line in said.stdout.splitlines() if line.strip()]
    yield Finding("gpu", "ok", "; ".join(names) or "none")
    if names and importlib.util.find_spec("vllm") is None:
        yield Finding(
            "vllm", "ok", "not in this interpreter; a service may name another (engine: {kind: vllm, python: …})"
        )


def check_network(machine: Machine) -> Iterator[Finding]:
    """Only when asked for: asks the user's own pip for the default model's package, without fetching it."""
    if not machine.network:
        return
    from roadbed.models.catalogue import DEFAULT_MODEL, find

    package = find(DEFAULT_MODEL).source.removeprefix("pypi:").partition("/")[0]
    argv = [sys.executable, "-m", "pip", "index", "versions", package.partition("==")[0]]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("pip index", "failed", f"no answer within {PIP_TIMEOUT_S:g} s", "pip config list")
        return
    if said.returncode == 0:
        yield Finding("pip index", "ok", f"knows {said.stdout.splitlines()[0]}")
    else:
        last = (said.stderr.strip() or "pip failed").splitlines()[-1]
        yield Finding("pip index", "failed", last, "pip config list")


CHECKS: tuple[Check, ...] = (
    check_python, check_cpu, check_memory, check_disk, check_files, check_gpu, check_packages, check_config,
    check_ports, check_database, check_models, check_platform, check_network,
)  # fmt: skip


def look_at(home: Home, *, network: bool = False) -> Machine:
    """Gathers what the checks share; a part that does not answer stays None."""
    from roadbed.control.client import ControlClient
    from roadbed.runtime.local.client import SyncAgent
    from roadbed.spec.load import load_config

    machine = Machine(home, PlatformConfig(), network=network)
    try:
        machine.config = load_config(home.config)
    except RoadbedError as error:
        machine.config_error = error.message.replace("\n", "; ")
    try:
        machine.agent_pid = SyncAgent(home).ping().pid
        machine.platform = ControlClient.find(home, timeout_s=5.0).status()
    except (RoadbedError, OSError):
        return machine  # not running, or control is away: the checks say which
    return machine


def examine(machine: Machine) -> list[Finding]:
    """All findings, in a fixed order."""
    return [finding for check in CHECKS for finding in check(machine)]


def _taken(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _sqlite_check(connection: Any) -> str:
    verdict = str(connection.exec_driver_sql("PRAGMA quick_check").scalar())
    return "" if verdict == "ok" else verdict.splitlines()[0]
