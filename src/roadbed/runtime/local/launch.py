"""Starts one child the way every child is started: own session, own group, one pipe for its output, kernel limits.

Limits are applied between fork and exec, which is safe because the agent has a single thread. What can be refused is
refused before the fork, where an error can still say why.
"""

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable

from roadbed.errors import RuntimeFailure, UsageError
from roadbed.runtime.base import ProcessLimits, ProcessSpec

INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME",
)  # fmt: skip
PIPE_BYTES = 2**20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def launch(
    spec: ProcessSpec, environment: dict[str, str], files: tuple[int, int]
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the process; returns it and the non-blocking read end of its output.

    `files` are the (soft, hard) RLIMIT_NOFILE it gets unless its limits say otherwise. Raises RuntimeFailure when it
    can't be run, UsageError when its limits can't be had.
    """
    _check_limits(spec.limits)
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=write_fd,
            stderr=write_fd,
            env=environment,
            cwd=spec.cwd,
            start_new_session=True,
            preexec_fn=_prepare(spec.limits, files, os.getpid()),
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        os.close(read_fd)
        raise _explain(spec, error) from error
    finally:
        os.close(write_fd)
    os.set_blocking(read_fd, False)
    return process, read_fd


def _check_limits(limits: ProcessLimits) -> None:
    allowed = os.sched_getaffinity(0)
    if limits.cpus is not None and not (limits.cpus and set(limits.cpus) <= allowed):
        raise UsageError(f"limits.cpus {list(limits.cpus)} are not among this node's {sorted(allowed)}", field="cpus")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits.num_files is not None and not 8 <= limits.num_files <= hard:
        raise UsageError(
            f"limits.num_files {limits.num_files} is outside 8..{hard} (the hard limit)",
            hint="ulimit -Hn",
            field="num_files",
        )
    if limits.memory_bytes is not None and limits.memory_bytes < 2**20:
        raise UsageError(f"limits.memory_bytes {limits.memory_bytes} is less than 1 MiB", field="memory_bytes")
    if not -20 <= limits.nice <= 19 or (limits.nice < 0 and os.geteuid() != 0):
        raise UsageError(f"limits.nice {limits.nice} is outside 0..19", field="nice")


def _prepare(limits: ProcessLimits, files: tuple[int, int], parent_pid: int) -> Callable[[], None]:
    """What the child does before exec. Only system calls: no logging, no locks."""

    def prepare() -> None:
        # Second belt beside the sentinel: the kernel itself ends a direct child of a dead agent.
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)
        if limits.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
        if limits.num_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits.num_files, limits.num_files))
        else:
            resource.setrlimit(resource.RLIMIT_NOFILE, files)
        if limits.nice:
            os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
        if limits.cpus is not None:
            os.sched_setaffinity(0, limits.cpus)

    return prepare


def _explain(spec: ProcessSpec, error: Exception) -> RuntimeFailure:
    program = spec.argv[0]
    if isinstance(error, FileNotFoundError) and spec.cwd is not None and error.filename == spec.cwd:
        return RuntimeFailure(f"{spec.name}: working directory {spec.cwd} does not exist", hint=f"mkdir -p {spec.cwd}")
    if isinstance(error, FileNotFoundError):
        return RuntimeFailure(f"{spec.name}: program {program!r} not found", hint=f"command -v {program}")
    if isinstance(error, PermissionError):
        return RuntimeFailure(f"{spec.name}: {program!r} may not be executed", hint=f"ls -l {program}")
    return RuntimeFailure(f"{spec.name}: {program!r} could not be started: {error}")
