"""The loop: woken by news, survives every pass, tells a failure once."""

import asyncio
from pathlib import Path

import pytest

from roadbed.control.reconcilers.loop import run_loop
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.meta import set_value
from tests.control.harness import world_of


def test_news_wakes_it_and_other_topics_do_not(store: Store, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            passes: asyncio.Queue[int] = asyncio.Queue()

            async def one_pass() -> float:
                passes.put_nowait(1)
                return 3600.0

            loop = asyncio.create_task(run_loop(world.state, "test", one_pass, "state"))
            await passes.get()
            await asyncio.to_thread(_commit, store, "usage")
            await asyncio.sleep(0)
            assert passes.empty()
            await asyncio.to_thread(_commit, store, "state")
            await asyncio.wait_for(passes.get(), 5.0)
            loop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loop

    asyncio.run(scenario())


def test_a_failing_pass_is_told_once_and_retried_with_back_off(store: Store, tmp_path: Path) -> None:
    waits: list[float] = []
    outcomes = iter([OSError("disk"), OSError("disk"), OSError("other"), None, OSError("disk")])
    done = asyncio.Event()

    async def one_pass() -> float:
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        if len(waits) == 4:
            done.set()
        return 0.0 if len(waits) < 4 else 3600.0

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            loop = asyncio.create_task(run_loop(world.state, "test", one_pass, sleep=sleep))
            await asyncio.wait_for(done.wait(), 5.0)
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    asyncio.run(scenario())
    assert waits == [0.2, 0.4, 0.8, 0.2]
    with store.read() as connection:
        told = [(event.code, event.message) for event in list_events(connection, noun="loop")]
    assert told == [("loop_failed", f"OSError: {what}") for what in ("disk", "other", "disk")]


def _commit(store: Store, topic: str) -> None:
    with store.write(topic) as connection:  # type: ignore[arg-type]
        set_value(connection, topic, 1)
