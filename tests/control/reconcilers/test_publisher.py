"""The snapshot: what is in it, when it is written, and that slots never carry over what another owner left."""

import asyncio
import stat
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from roadbed.control.reconcilers.loop import run_loop
from roadbed.control.reconcilers.publisher import Publisher, choose_port, limits_entry, read_snapshot, write_private
from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.services.apply import apply
from roadbed.control.services.key import remove_key
from roadbed.control.services.service import scale_service
from roadbed.control.services.tenant import remove_tenant
from roadbed.control.store import Store
from roadbed.control.store.replica import ReplicaState, list_replicas, update_replica
from roadbed.control.store.usage import insert_usage
from roadbed.errors import ConflictError
from roadbed.gateway.account import Account
from roadbed.gateway.snapshot import ListenEntry, Snapshot
from roadbed.spec.load import load_text
from roadbed.spec.platform import GatewayConfig, TlsConfig
from roadbed.spec.tenant import Limits
from tests.control.conftest import Clock
from tests.control.harness import World, world_of
from tests.control.store.test_usage import settled

SPECS = """
kind: service
name: chat
model: smollm2-135m-instruct
aliases: [small]
replicas: 2
slo: {ttft: 2s}
routing: {policy: least_load, max_queue: 7}
---
kind: service
name: far
model: smollm2-135m-instruct
engine: {kind: openai, urls: [https://far.example], upstream_model: theirs}
---
kind: tenant
name: a
limits: {monthly_budget_cny: 1.5}
---
kind: key
name: k
tenant: a
limits: {requests_per_minute: 10}
expires_in: 60
"""


def wish(world: World, text: str = SPECS) -> str:
    """Applies specs; returns the id of the key made."""
    applied = apply(world.store, load_text(text), world.state.pool, "test")
    return next((item.id for item in applied if item.id is not None), "")


def reopen_account(world: World) -> Account:
    """As the next control process finds it: not new any more."""
    assert world.state.account is not None
    world.state.account.close()
    world.state.account = Account(world.state.home.account, num_workers=2)
    return world.state.account


async def settle(world: World, clock: Clock) -> None:
    reconciler = ServiceReconciler(world.state)
    for _ in range(10):
        await reconciler.one_pass()
        clock.tick(0.1)


def test_the_file_says_what_the_store_says(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            key_id = wish(world)
            await settle(world, clock)
            published = Publisher(world.state).publish()
            assert read_snapshot(world.state.home.snapshot) == published
            assert stat.S_IMODE(world.state.home.snapshot.stat().st_mode) == 0o600
            chat, far = sorted(published.services, key=lambda service: service.name)
            assert chat.models == ("smollm2-135m-instruct", "chat", "small")
            assert far.models == ("far",)
            assert (chat.policy, chat.max_queue, chat.slo_ttft_s) == ("least_load", 7, 2.0)
            assert chat.price.input_pico == 300_000
            assert [replica.id for replica in chat.replicas] == ["chat-0", "chat-1"]
            assert chat.replicas[0].capabilities == ("chat", "completions")
            replica = far.replicas[0]
            assert (replica.host, replica.tls, replica.base_path, replica.api_key) == (
                "far.example",
                True,
                "/v",
                "sk-far",
            )
            assert replica.upstream_model == "theirs"
            (key,) = published.keys
            assert (key.id, key.limits.requests_per_minute) == (key_id, 10)
            (tenant,) = published.tenants
            assert tenant.limits.monthly_budget_pico == 1_500_000_000_000
            assert key.slot != tenant.slot
            assert published.listen.port == 8000

    asyncio.run(scenario())


def test_it_is_written_only_for_news_and_versions_grow_for_ever(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world)
            publisher = Publisher(world.state)
            first = publisher.publish()
            inode = world.state.home.snapshot.stat().st_ino
            assert publisher.publish() is first
            reopen_account(world)
            assert Publisher(world.state).publish().version == first.version
            assert world.state.home.snapshot.stat().st_ino == inode
            write_private(world.state.home.snapshot, msgspec.json.encode(Snapshot(version=90)))
            assert Publisher(world.state).publish().version == 91
            world.state.home.snapshot.write_text("{torn")
            assert Publisher(world.state).publish().version == 92

    asyncio.run(scenario())


def test_draining_replicas_stay_marked_and_others_leave(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world)
            await settle(world, clock)
            publisher = Publisher(world.state)
            publisher.publish()
            world.engines.busy = True
            wish(world, SPECS.replace("replicas: 2", "replicas: 1"))
            await settle(world, clock)
            world.runtime.die("service-chat-0")
            await ServiceReconciler(world.state).one_pass()
            (chat,) = (service for service in publisher.publish().services if service.name == "chat")
            assert [(replica.id, replica.draining) for replica in chat.replicas] == [("chat-1", True)]

    asyncio.run(scenario())


def test_expired_and_revoked_keys_leave(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world)
            publisher = Publisher(world.state)
            assert len(publisher.publish().keys) == 1
            clock.tick(61.0)
            assert publisher.publish().keys == ()

    asyncio.run(scenario())


def test_a_revoke_is_in_the_file_within_200_ms(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            key_id = wish(world)
            loop = asyncio.create_task(run_loop(world.state, "publisher", Publisher(world.state).one_pass, "state"))
            path = world.state.home.snapshot
            while not path.exists():
                await asyncio.sleep(0.005)
            assert key_id in path.read_text()
            await asyncio.to_thread(remove_key, store, key_id, "test")
            began = time.monotonic()
            while key_id in path.read_text():
                await asyncio.sleep(0.002)
                assert time.monotonic() - began < 5.0
            took_s = time.monotonic() - began
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
            assert took_s < 0.2

    asyncio.run(scenario())


def test_budgets_are_seeded_when_the_account_is_new(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            key_id = wish(world)
            spent = settled("r1", at=clock.now, key_id=key_id, tenant="a", cost_pico=5_000_000_000_007)
            old = settled("r2", at=clock.now - 86_400.0 * 40, key_id=key_id, tenant="a", cost_pico=9)
            with store.write("usage") as connection:
                insert_usage(connection, [spent, old])
            published = Publisher(world.state).publish()
            account = world.state.account
            assert account is not None
            assert account.created
            assert account.spent_pico(published.keys[0].slot, clock.now) == 5_000_000_000_007
            assert account.spent_pico(published.tenants[0].slot, clock.now) == 5_000_000_000_007

    asyncio.run(scenario())


def test_an_account_that_lives_keeps_its_counters_and_new_owners_start_clean(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, "kind: tenant\nname: a\n")
            slot = Publisher(world.state).publish().tenants[0].slot
            assert world.state.account is not None
            world.state.account.seed_spent(slot, clock.now, 77)
            reopen_account(world)
            wish(world, "kind: tenant\nname: b\n")
            publisher = Publisher(world.state)
            publisher.publish()
            assert world.state.account.spent_pico(slot, clock.now) == 77
            remove_tenant(store, "a", "test")
            publisher.publish()
            with store.write() as connection:
                connection.exec_driver_sql("UPDATE meta SET value = '0' WHERE key = 'slot.limit'")
            wish(world, "kind: tenant\nname: c\n")
            tenants = {tenant.name: tenant.slot for tenant in publisher.publish().tenants}
            assert tenants["c"] == slot
            assert world.state.account.spent_pico(slot, clock.now) == 0

    asyncio.run(scenario())


def test_ports() -> None:
    kept = Snapshot(version=1, listen=ListenEntry(host="127.0.0.1", port=4711))
    assert choose_port(GatewayConfig(port=8000), kept) == 8000
    assert choose_port(GatewayConfig(port=0), kept) == 4711
    assert choose_port(GatewayConfig(port=0, host="127.0.0.2"), kept) != 4711
    assert choose_port(GatewayConfig(port=0), None) > 0


def test_limits_and_listen_settings_are_those_of_the_config(store: Store, tmp_path: Path) -> None:
    assert limits_entry(Limits(monthly_budget_cny=0.1)).monthly_budget_pico == 100_000_000_000
    assert limits_entry(Limits()).monthly_budget_pico is None

    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            tls = TlsConfig(cert="c.pem", key="k.pem")
            gateway = GatewayConfig(port=1, workers=3, tls=tls, max_body_bytes=5)
            world.state.config = world.state.config.model_copy(update={"gateway": gateway})
            listen = Publisher(world.state).publish().listen
            assert (listen.num_workers, listen.tls_cert, listen.tls_key, listen.max_body_bytes) == (
                3,
                "c.pem",
                "k.pem",
                5,
            )

    asyncio.run(scenario())


SLEEPER = """
kind: service
name: nap
model: smollm2-135m-instruct
replicas: 0..2
scaling: {cold_start: 40s}
routing: {max_wait: 20s}
"""


def test_a_service_at_zero_holds_as_long_as_a_start_may_take(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, SLEEPER)
            (asleep,) = Publisher(world.state).publish().services
            assert (asleep.holds, asleep.num_desired, asleep.note) == (True, 0, "")
            assert asleep.max_wait_s == 90.0
            assert asleep.slot >= 0
            scale_service(store, "nap", 1, "test")
            (waking,) = Publisher(world.state).publish().services
            assert (waking.max_wait_s, waking.note) == (90.0, "a replica is starting")
            await settle(world, clock)
            (awake,) = Publisher(world.state).publish().services
            assert (awake.max_wait_s, awake.note, len(awake.replicas)) == (20.0, "", 1)
            assert awake.slot != awake.replicas[0].slot

    asyncio.run(scenario())


def _why_nobody_of(world: World, state: ReplicaState, reason: str) -> str:
    """What clients would hear if the only replica were in this state."""
    with world.store.write() as connection:
        (row,) = list_replicas(connection, "nap")
        update_replica(connection, msgspec.structs.replace(row, state=state, reason=reason))
    (entry,) = Publisher(world.state).publish().services
    return entry.note


def test_a_service_that_cannot_come_says_why_without_saying_where(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, SLEEPER + "resources: {cpu: 64}\n")
            scale_service(store, "nap", 1, "test")
            await settle(world, clock)
            (entry,) = Publisher(world.state).publish().services
            assert entry.note == "a replica is larger than any machine here"
            assert [_why_nobody_of(world, *why) for why in (("pending", "no_capacity"), ("pending", "quota_exceeded"),
                ("pending", "reserved"), ("failed", "model"), ("failed", "exited"), ("starting", ""))] == [
                "no machine has room for a replica now", "its quota is used up", "it has to wait for a place",
                "its model cannot be fetched", "its engine does not start", "a replica is starting",
            ]  # fmt: skip
            scale_service(store, "nap", 0, "test")
            await settle(world, clock)
            (entry,) = Publisher(world.state).publish().services
            assert entry.note == "it was set to 0 replicas by hand"

    asyncio.run(scenario())


def test_what_another_service_held_is_cleared(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, SLEEPER)
            account = world.state.account
            assert account is not None
            with closing(Account(world.state.home.account, num_workers=2, worker=1)) as worker:
                worker.write(0, 9, 0, 0, 0)
                publisher = Publisher(world.state)
                (entry,) = publisher.publish().services
                assert entry.slot == 0
                assert account.totals(0).in_flight == 0
                worker.write(0, 4, 0, 0, 0)
                scale_service(store, "nap", 1, "test")
                publisher.publish()
                assert account.totals(0).in_flight == 4

    asyncio.run(scenario())


ADAPTED = """
kind: service
name: tuned
model: smollm2-135m-instruct
engine: {kind: vllm, max_adapters: 1, adapters: [{name: law, source: /l}, {name: art, source: /a}]}
---
kind: service
name: other
model: smollm2-135m-instruct
engine: {kind: llamacpp, adapters: [{name: sea, source: /s}]}
"""


def test_adapters_are_names_of_their_service(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, ADAPTED)
            published = Publisher(world.state).publish()
            found = {service.name: (service.adapters, service.max_adapters) for service in published.services}
            assert found == {"tuned": (("law", "art"), 1), "other": (("sea",), 0)}
            with pytest.raises(ConflictError, match="'law' already leads to service 'tuned'"):
                wish(world, "{kind: service, name: third, model: smollm2-135m-instruct, aliases: [law]}")

    asyncio.run(scenario())


ROLES = """
kind: service
name: pair
model: smollm2-135m-instruct
engine: {kind: vllm, kv_transfer: {kv_connector: NixlConnector, kv_role: kv_both}, roles: {prefill: 1, decode: 2}}
replicas: 3
"""


def test_the_first_replicas_compute_prompts(store: Store, tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with world_of(store, tmp_path) as world:
            wish(world, ROLES)
            await settle(world, clock)
            (pair,) = Publisher(world.state).publish().services
            assert [replica.role for replica in pair.replicas] == ["prefill", "decode", "decode"]
            wish(world, SPECS)
            await settle(world, clock)
            others = [one for one in Publisher(world.state).publish().services if one.name != "pair"]
            assert {replica.role for service in others for replica in service.replicas} == {""}

    asyncio.run(scenario())
