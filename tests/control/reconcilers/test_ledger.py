"""Usage reaches the store exactly once, whatever dies between reading, storing and forgetting."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roadbed.control.reconcilers.ledger import LedgerIngest
from roadbed.control.services.key import NewKey, apply_key
from roadbed.control.store import Store
from roadbed.control.store.key import get_key
from roadbed.control.store.usage import list_cursors, sum_usage
from roadbed.gateway.ledger.reader import LedgerReader
from roadbed.gateway.ledger.record import Begin, End
from roadbed.gateway.ledger.writer import Ledger
from roadbed.spec.tenant import Key
from tests.control.conftest import Clock
from tests.control.harness import World, world_of


def begin(request_id: str, at: float, key_id: str = "k") -> Begin:
    return Begin(
        request_id=request_id, at=at, key_id=key_id, tenant="a", model="m", service="chat", endpoint="chat",
        prompt_tokens_estimate=9,
    )  # fmt: skip


def end(request_id: str, at: float) -> End:
    return End(
        request_id=request_id, at=at, outcome="ok", status=200, replica="chat-0", num_tries=1, prompt_tokens=10,
        cached_tokens=2, completion_tokens=3, estimated=False, ttft_s=0.1, total_s=0.2, overhead_s=0.001,
        route="only_one", cost_pico=5,
    )  # fmt: skip


@contextmanager
def writing(world: World, worker: int = 0) -> Iterator[Ledger]:
    ledger = Ledger(world.state.home.ledger, worker)
    try:
        yield ledger
    finally:
        ledger.close()


def total(store: Store) -> tuple[int, int]:
    with store.read() as connection:
        row = sum_usage(connection, [])[0]
    return row.num_requests, row.cost_pico


def test_settled_requests_arrive_and_open_ones_wait(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            ingest = LedgerIngest(world.state)
            with writing(world) as ledger:
                for number in range(3):
                    ledger.begin(begin(f"r{number}", clock.now))
                ledger.end(end("r0", clock.now))
                ledger.end(end("r2", clock.now))
                assert await ingest.one_pass() > 0.0
                assert total(store) == (2, 10)
                assert ingest.ingest() == 0
                ledger.end(end("r1", clock.now))
                ingest.ingest()
                assert total(store) == (3, 15)
            ingest.ingest()
            assert total(store) == (3, 15)
            assert list(world.state.home.ledger.glob("*.seg")) == []
            ingest.close()
        with store.read() as connection:
            assert list_cursors(connection) == {}

    asyncio.run(scenario())


def test_a_control_that_dies_after_storing_repeats_itself_harmlessly(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            with writing(world) as ledger:
                for number in range(50):
                    ledger.begin(begin(f"r{number}", clock.now))
                    ledger.end(end(f"r{number}", clock.now))
                first = LedgerIngest(world.state)
                with monkeypatch.context() as patch:
                    patch.setattr(LedgerReader, "commit", _die)
                    with pytest.raises(OSError, match="killed"):
                        await first.one_pass()
                assert total(store) == (50, 250)
                second = LedgerIngest(world.state)
                second.ingest()
                second.ingest()
                assert total(store) == (50, 250)
                second.close()

    asyncio.run(scenario())


def test_a_control_that_dies_before_storing_loses_nothing(
    store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            with writing(world) as ledger:
                ledger.begin(begin("r0", clock.now))
                ledger.end(end("r0", clock.now))
                ingest = LedgerIngest(world.state)
                with monkeypatch.context() as patch:
                    patch.setattr("roadbed.control.reconcilers.ledger.put_cursors", _die)
                    with pytest.raises(OSError, match="killed"):
                        await ingest.one_pass()
                assert total(store) == (0, 0)
                await ingest.one_pass()
                assert total(store) == (1, 5)
                ingest.close()

    asyncio.run(scenario())


def test_a_dead_worker_s_open_requests_are_settled_as_lost(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            with writing(world) as ledger:
                ledger.begin(begin("r0", clock.now))
            ingest = LedgerIngest(world.state)
            ingest.ingest()
            ingest.close()
        with store.read() as connection:
            (row,) = sum_usage(connection, ["outcome"])
        assert (row.group, row.prompt_tokens, row.cost_pico) == ({"outcome": "worker_lost"}, 9, 0)

    asyncio.run(scenario())


def test_keys_know_when_they_were_last_used(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            with store.write() as connection:
                made = apply_key(store, connection, Key(name="k"), "test")
            assert isinstance(made, NewKey)
            with writing(world) as ledger:
                ledger.begin(begin("r0", clock.now + 5.0, made.row.id))
                ledger.end(end("r0", clock.now + 6.0))
                ingest = LedgerIngest(world.state)
                ingest.ingest()
                ingest.close()
        with store.read() as connection:
            row = get_key(connection, made.row.id)
        assert row is not None
        assert row.last_used_at == clock.now + 5.0

    asyncio.run(scenario())


def _die(*_: object) -> None:
    raise OSError("killed")
