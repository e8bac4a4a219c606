import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from roadbed.errors import ConflictError, NotFoundError, RuntimeFailure, UnreachableError
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec, Runtime
from roadbed.runtime.local.client import LocalRuntime, SyncAgent, start_agent
from tests.runtime.local.conftest import alive, eventually, num_open_files


def test_the_whole_interface(agent: SyncAgent, home: Home) -> None:
    async def use(runtime: Runtime) -> None:
        started = await runtime.start(ProcessSpec(name="p", argv=("sh", "-c", "echo hello; exec sleep 1000")))
        assert [s.pid for s in await runtime.list()] == [started.pid]
        while await runtime.log_tail("p") != b"hello\n":
            await asyncio.sleep(0.01)
        with pytest.raises(ConflictError):
            await runtime.start(ProcessSpec(name="p", argv=("true",)))
        assert (await runtime.stop("p", grace_s=5)).signal == 15
        await runtime.forget("p")
        assert await runtime.list() == []
        with pytest.raises(NotFoundError):
            await runtime.stop("p")

    asyncio.run(use(LocalRuntime(home)))
    assert asyncio.run(LocalRuntime(home).ping()) == agent.ping()


def test_calls_do_not_wait_for_each_other(agent: SyncAgent, home: Home) -> None:
    async def use() -> None:
        runtime = LocalRuntime(home)
        await runtime.start(
            ProcessSpec(name="slow", argv=("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"))
        )
        while await runtime.log_tail("slow") != b"up\n":
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(runtime.stop("slow", grace_s=60))
        while (await runtime.list())[0].state != "stopping":
            await asyncio.sleep(0.01)
        assert (await runtime.stop("slow", grace_s=0.1)).signal == 9  # the shorter grace wins
        assert (await stopping).signal == 9

    asyncio.run(use())


def test_no_agent_is_unreachable(home: Home) -> None:
    home.create()
    with pytest.raises(UnreachableError, match="no agent answers") as caught:
        SyncAgent(home).list()
    assert caught.value.hint == "roadbed up"
    with pytest.raises(UnreachableError):
        asyncio.run(LocalRuntime(home).list())


def test_a_home_that_was_never_created_is_unreachable(home: Home) -> None:
    with pytest.raises(UnreachableError):
        SyncAgent(home).ping()
    with pytest.raises(UnreachableError):
        asyncio.run(LocalRuntime(home).ping())


def test_an_agent_that_hangs_up_or_talks_nonsense_is_an_error_not_a_hang(home: Home) -> None:
    home.create()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home.agent_socket))
        server.listen()

        def answer(data: bytes) -> None:
            link, _ = server.accept()
            with link:
                link.recv(1000)
                link.sendall(data)

        for data, kind in (
            (b"", UnreachableError),
            (b"nonsense\n", RuntimeFailure),
            (b'{"result":3}\n', RuntimeFailure),
        ):
            thread = threading.Thread(target=answer, args=(data,))
            thread.start()
            with pytest.raises(kind):
                SyncAgent(home).list()
            thread.join()


def test_the_tail_is_readable_without_an_agent(start: Callable[..., SyncAgent]) -> None:
    agent = start()
    agent.start(ProcessSpec(name="p", argv=("echo", "hello")))
    eventually(lambda: agent.log_tail("p") == b"hello\n")
    agent.shutdown()
    assert agent.log_tail("p").endswith(b"hello\n")
    with pytest.raises(NotFoundError):
        agent.log_tail("never-seen")


def test_an_agent_that_cannot_start_says_why(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("x") / "file"
    root.write_text("in the way")
    with pytest.raises(RuntimeFailure, match="can't start"):
        start_agent(Home(root), [])


def test_starting_leaks_no_descriptor_and_no_child(home: Home) -> None:
    before = num_open_files()
    info = start_agent(home, [])
    assert num_open_files() == before
    os.kill(info.pid, signal.SIGKILL)
    eventually(lambda: not alive(info.pid))
