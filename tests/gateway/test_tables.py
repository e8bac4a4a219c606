"""Snapshots as look-up tables: what is rebuilt, what is kept, what lives on until it is idle."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from roadbed.gateway.metrics import Metrics
from roadbed.gateway.snapshot import ListenEntry, ReplicaEntry, Snapshot
from roadbed.gateway.tables import Replica, Tables
from roadbed.gateway.wire.upstream import Pool
from roadbed.router.account import MemoryAccount
from roadbed.router.base import Features
from tests.gateway.rig import KEY, snapshot


def with_tables(use: Callable[[Tables], None]) -> None:
    async def body() -> None:
        tables = Tables(asyncio.get_running_loop(), MemoryAccount().view(), ListenEntry(), Metrics(), seed=1)
        use(tables)
        tables.close()

    asyncio.run(body())


def changed(base: Snapshot, **changes: Any) -> Snapshot:
    """The same with another service entry."""
    return msgspec.structs.replace(base, services=(msgspec.structs.replace(base.services[0], **changes),))


def test_names_and_aliases_lead_to_one_service() -> None:
    def use(tables: Tables) -> None:
        tables.apply(snapshot([1, 2]), 0.0)
        assert tables.models["m"] is tables.models["m-alias"] is tables.services["m"]
        assert tables.services["m"].canonical == "m"
        assert len(set(tables.seeds.values())) == 2, "prompts of different names share no cache"
        assert sorted(tables.services["m"].replicas) == [0, 1]
        assert tables.callers.authenticate(f"Bearer {KEY}".encode(), "inference").key.id == "abc"

    with_tables(use)


def test_the_first_service_of_a_model_name_wins() -> None:
    def use(tables: Tables) -> None:
        first = snapshot([1])
        other = msgspec.structs.replace(first.services[0], name="n", models=("m", "n"))
        tables.apply(msgspec.structs.replace(first, services=(*first.services, other)), 0.0)
        assert tables.models["m"].name == "m"
        assert tables.models["n"].name == "n"

    with_tables(use)


def test_what_was_learned_survives_a_change_of_settings_and_prices() -> None:
    def use(tables: Tables) -> None:
        tables.apply(snapshot([1]), 0.0)
        service, router = tables.services["m"], tables.services["m"].router
        tally = service.tally
        price = msgspec.structs.replace(service.entry.price, output_pico=7)
        tables.apply(changed(snapshot([1]), policy="least_load", price=price, priority=2, slo_ttft_s=1.5), 1.0)
        assert tables.services["m"] is service
        assert service.router is router
        assert (service.output_pico, service.priority, service.slo_ttft_s) == (7, 2, 1.5)
        assert service.tally is not tally, "decisions are counted by policy"

    with_tables(use)


def test_capabilities_and_context_are_those_of_replicas_that_stay() -> None:
    def use(tables: Tables) -> None:
        base = snapshot([1, 2])
        one, two = base.services[0].replicas
        one = msgspec.structs.replace(one, capabilities=("chat", "tools"), context_tokens=9000, draining=True)
        tables.apply(changed(base, replicas=(one, two)), 0.0)
        assert "tools" not in tables.services["m"].capabilities
        assert tables.services["m"].context_tokens == two.context_tokens

    with_tables(use)


def test_a_replica_that_moved_has_another_pool_and_the_old_one_is_retired() -> None:
    def use(tables: Tables) -> None:
        tables.apply(snapshot([1]), 0.0)
        pool = tables.services["m"].replicas[0].pool
        tables.apply(snapshot([1]), 1.0)
        assert tables.services["m"].replicas[0].pool is pool
        tables.apply(snapshot([2]), 2.0)
        assert tables.services["m"].replicas[0].pool is not pool
        assert pool._retired
        assert len(tables._pools) == 1

    with_tables(use)


def test_a_service_that_left_ticks_until_it_is_idle() -> None:
    def use(tables: Tables) -> None:
        tables.apply(snapshot([1]), 0.0)
        gone = tables.services["m"]
        features = Features(request_id="a", blocks=[], block_tokens=64.0, prompt_tokens=5, output_tokens=5)
        assert gone.router.arrive(features, 0.0).kind == "go"
        tables.apply(Snapshot(version=2), 1.0)
        assert tables.models == tables.services == {}
        assert tables.ticking() == [gone]
        gone.router.finish("a", 2.0, outcome_ok=True)
        tables.apply(Snapshot(version=3), 3.0)
        assert tables.ticking() == []

    with_tables(use)


def test_heads_name_the_host_the_path_and_the_engines_own_key() -> None:
    async def body() -> None:
        pool = Pool(asyncio.get_running_loop(), "h", 443)
        entry = ReplicaEntry(id="r", slot=0, host="h", port=443, tls=True, base_path="/x", api_key="sk-1")
        head = Replica(entry, pool).heads["chat"]
        assert head.startswith("POST /x/v1/chat/completions HTTP/1.1\r\nhost: h\r\n")
        assert "authorization: Bearer sk-1\r\n" in head
        plain = Replica(msgspec.structs.replace(entry, tls=False, api_key=None), pool).heads["embeddings"]
        assert plain.startswith("POST /x/v1/embeddings HTTP/1.1\r\nhost: h:443\r\n")
        assert "authorization" not in plain

    asyncio.run(body())


def test_engines_that_only_watch_streams_are_known() -> None:
    async def body() -> None:
        pool = Pool(asyncio.get_running_loop(), "h", 1)
        entry = ReplicaEntry(id="r", slot=0, host="h", port=1, capabilities=("chat", "stops_streams_only"))
        assert Replica(entry, pool).asks_streams
        assert not Replica(msgspec.structs.replace(entry, capabilities=("chat",)), pool).asks_streams

    asyncio.run(body())
