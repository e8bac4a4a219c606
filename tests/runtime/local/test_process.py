import time
from pathlib import Path

import pytest

from roadbed.runtime.base import ProcessSpec
from roadbed.runtime.local.client import SyncAgent
from tests.runtime.local.conftest import alive, eventually

IGNORES_TERM = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")


def start(agent: SyncAgent, *argv: str, name: str = "p", **extra: object) -> int:
    return agent.start(ProcessSpec(name=name, argv=argv, **extra)).pid  # type: ignore[arg-type]


def ended(agent: SyncAgent, name: str = "p") -> bool:
    return any(status.name == name and status.state == "exited" for status in agent.list())


def test_exit_code_and_time_are_exact(agent: SyncAgent) -> None:
    before = time.time()
    start(agent, "sh", "-c", "exit 42")
    eventually(lambda: ended(agent))
    (status,) = agent.list()
    assert (status.exit_code, status.signal) == (42, None)
    assert before <= status.started_at <= (status.exited_at or 0) <= time.time()


def test_a_signal_is_told_from_a_code(agent: SyncAgent) -> None:
    start(agent, "sh", "-c", "kill -SEGV $$")
    eventually(lambda: ended(agent))
    (status,) = agent.list()
    assert (status.exit_code, status.signal) == (None, 11)


def test_stop_is_sigterm_first(agent: SyncAgent) -> None:
    start(agent, "sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done")
    eventually(lambda: b"up" in agent.log_tail("p"))
    assert agent.stop("p").exit_code == 7
    assert agent.log_tail("p").endswith(b"bye\n")


def test_stop_kills_after_the_grace_and_is_idempotent(agent: SyncAgent) -> None:
    start(agent, *IGNORES_TERM)
    eventually(lambda: b"up" in agent.log_tail("p"))
    began = time.monotonic()
    status = agent.stop("p", grace_s=0.2)
    assert status.signal == 9
    assert 0.2 <= time.monotonic() - began < 5
    assert agent.stop("p", grace_s=0.2) == status


def test_the_last_words_of_a_run_are_its_own(agent: SyncAgent) -> None:
    for word in ("first", "second"):
        start(agent, "sh", "-c", f"echo {word}")
        eventually(lambda: ended(agent))
        assert agent.log_tail("p") == f"{word}\n".encode()
    agent.forget("p")
    whole = agent.log_tail("p").decode()
    assert whole.index("first") < whole.index("second")
    assert whole.count("--- p started, pid") == 2


@pytest.mark.parametrize("megabytes", [50])
def test_a_flood_neither_blocks_the_child_nor_grows_the_agent(agent: SyncAgent, megabytes: int) -> None:
    def resident_kib() -> int:
        status = Path(f"/proc/{agent.ping().pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    before = resident_kib()
    start(agent, "sh", "-c", f"head -c {megabytes}000000 /dev/zero | tr '\\0' x; echo; echo the end")
    eventually(lambda: ended(agent), timeout_s=60)
    assert agent.list()[0].exit_code == 0
    assert agent.log_tail("p", num_bytes=8) == b"the end\n"
    assert resident_kib() - before < 4096
    directory = Path(agent.list()[0].log_path).parent
    sizes = [path.stat().st_size for path in directory.iterdir()]
    assert len(sizes) == 4
    assert max(sizes) <= 8 * 2**20


def test_a_process_that_closes_its_output_is_still_watched(agent: SyncAgent) -> None:
    pid = start(agent, "sh", "-c", "exec >&- 2>&-; exec sleep 100")
    eventually(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
    assert alive(pid)
    assert agent.stop("p").signal == 15
