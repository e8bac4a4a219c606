import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from roadbed.errors import ConflictError, NotFoundError
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec
from roadbed.runtime.local.guard import Guard
from roadbed.runtime.local.table import ProcessTable, stop_order
from tests.runtime.local.conftest import alive, eventually


def with_table(home: Home, body: Callable[[ProcessTable], Awaitable[None]], max_exits: int = 1000) -> None:
    """Runs `body` beside a table in this very process, and ends what it started."""

    async def run() -> None:
        guard = Guard("ROADBED_AGENT=test-table")
        guard.start()
        table = ProcessTable(home, guard, "test-table", max_exits=max_exits)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, table.reap)
        try:
            await body(table)
        finally:
            await table.close()
            guard.close()

    home.create()
    asyncio.run(run())


def test_only_the_last_exits_are_kept(home: Home) -> None:
    async def body(table: ProcessTable) -> None:
        for number in range(5):
            await table.start(ProcessSpec(name=f"p{number}", argv=("true",))).exited.wait()
        assert [status.name for status in table.list()] == ["p3", "p4"]
        with pytest.raises(NotFoundError):
            table.find("p0")

    with_table(home, body, max_exits=2)


def test_close_stops_in_order_and_refuses_afterwards(home: Home) -> None:
    async def body(table: ProcessTable) -> None:
        script = f"trap 'echo {{}} >> {home.root}/order; exit' TERM; echo up; while :; do sleep 0.01; done"
        for name, order in (("engine", "5"), ("gateway", "1"), ("control", "0"), ("odd", "x")):
            labels = {"stop_order": order}
            table.start(ProcessSpec(name=name, argv=("sh", "-c", script.format(name)), labels=labels))
        for name in ("engine", "gateway", "control", "odd"):
            while b"up" not in table.log_tail(name, 100):
                await asyncio.sleep(0.01)
        await table.close()
        order = (home.root / "order").read_text().split()
        assert order[:2] == ["control", "gateway"]
        assert sorted(order[2:]) == ["engine", "odd"]
        with pytest.raises(ConflictError, match="shutting down"):
            table.start(ProcessSpec(name="late", argv=("true",)))

    with_table(home, body)


def test_a_helper_left_in_the_group_ends_with_its_leader(home: Home) -> None:
    async def body(table: ProcessTable) -> None:
        process = table.start(ProcessSpec(name="p", argv=("sh", "-c", "sleep 100 & echo $!; exit 3")))
        await process.exited.wait()
        helper = int(process.log_tail(100))
        assert process.status().exit_code == 3
        eventually(lambda: not alive(helper))

    with_table(home, body)


@pytest.mark.parametrize(("text", "order"), [("0", 0), ("12", 12), ("", 5), ("-1", 5), ("x", 5), ("٣", 3), ("9999", 5)])
def test_stop_order(text: str, order: int) -> None:
    assert stop_order(ProcessSpec(name="a", argv=("x",), labels={"stop_order": text})) == order
    assert stop_order(ProcessSpec(name="a", argv=("x",))) == 5
