import os
import resource
import time

import pytest

from roadbed.errors import RoadbedError, RuntimeFailure, UsageError
from roadbed.runtime.base import ProcessLimits, ProcessSpec
from roadbed.runtime.local.launch import launch
from tests.runtime.local.conftest import num_open_files

FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
PATH = {"PATH": os.environ["PATH"]}


NO_LIMITS = ProcessLimits()


def run(*argv: str, limits: ProcessLimits = NO_LIMITS) -> str:
    """The output of a process started by `launch`, read to its end."""
    process, fd = launch(ProcessSpec(name="x", argv=argv, limits=limits), PATH, FILES)
    process.wait(10)
    deadline = time.monotonic() + 5
    output = b""
    while time.monotonic() < deadline:
        part = os.read(fd, 65536)
        if not part:
            break
        output += part
    os.close(fd)
    return output.decode()


def test_output_of_both_streams_arrives_in_order() -> None:
    assert run("sh", "-c", "echo out; echo err >&2; echo out2") == "out\nerr\nout2\n"


def test_it_leads_a_session_and_a_group_of_its_own() -> None:
    pid, group, session = run("sh", "-c", "set -- $(cut -d' ' -f1,5,6 /proc/$$/stat); echo $1 $2 $3").split()
    assert pid == group == session


def test_limits_reach_the_process() -> None:
    limits = ProcessLimits(memory_bytes=512 * 2**20, num_files=200, nice=7, cpus=(min(os.sched_getaffinity(0)),))
    out = run("sh", "-c", "ulimit -d; ulimit -n; nice; grep Cpus_allowed_list /proc/self/status", limits=limits)
    assert out.split() == ["524288", "200", "7", "Cpus_allowed_list:", str(min(os.sched_getaffinity(0)))]


def test_memory_beyond_the_limit_fails_in_the_process_alone() -> None:
    limits = ProcessLimits(memory_bytes=100 * 2**20)
    out = run("python3", "-c", "try: bytearray(2**28)\nexcept MemoryError: print('refused')", limits=limits)
    assert out == "refused\n"


def test_nothing_but_the_given_environment_and_no_descriptor_leaks() -> None:
    read_fd, write_fd = os.pipe()
    assert run("env").split() == [f"PATH={os.environ['PATH']}"]
    assert run("ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize(
    ("argv", "cwd", "sentence"),
    [
        (("/no/such/program",), None, "'/no/such/program' not found"),
        (("true",), "/no/such/dir", "/no/such/dir does not exist"),
        ((__file__,), None, "may not be executed"),
        (("true", "nul\0byte"), None, "could not be started"),
        (("true", "x" * 3_000_000), None, "could not be started"),
    ],
)
def test_what_cannot_run_says_why(argv: tuple[str, ...], cwd: str | None, sentence: str) -> None:
    before = num_open_files()
    with pytest.raises(RuntimeFailure, match=sentence):
        launch(ProcessSpec(name="x", argv=argv, cwd=cwd), PATH, FILES)
    assert num_open_files() == before


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (ProcessLimits(cpus=(9999,)), "cpus"),
        (ProcessLimits(cpus=()), "cpus"),
        (ProcessLimits(num_files=2**40), "num_files"),
        (ProcessLimits(num_files=1), "num_files"),
        (ProcessLimits(memory_bytes=0), "memory_bytes"),
        (ProcessLimits(nice=40), "nice"),
    ],
)
def test_limits_that_cannot_be_had_are_refused_before_the_fork(limits: ProcessLimits, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        launch(ProcessSpec(name="x", argv=("true",), limits=limits), PATH, FILES)
    assert isinstance(caught.value, RoadbedError)
    assert caught.value.field == field
