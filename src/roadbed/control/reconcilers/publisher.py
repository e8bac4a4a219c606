"""Writes what the gateway workers are told: the store, as one file, whenever it says something new.

Woken by every `state` commit, so a revoked key is out of the file milliseconds after its transaction. The version is
counted in the store before the file is written: it never goes backwards, whoever dies when.

A slot of the account that gets a new owner is cleared before the owner appears in the file, and a key's or tenant's
month is set to what the store has of it. Owners the file already had keep their counters, unless the account is new.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from roadbed.billing.prices import price_entry, to_pico
from roadbed.control.reconcilers.service import upstream_model
from roadbed.control.scaling import hold_s
from roadbed.control.services.service import model_names
from roadbed.control.state import EngineFactory, State
from roadbed.control.store.event import last_starts_s
from roadbed.control.store.key import KeyRow, list_keys
from roadbed.control.store.meta import next_number
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow, list_services
from roadbed.control.store.tenant import TenantRow, list_tenants
from roadbed.control.store.usage import month_start, sum_usage
from roadbed.errors import RoadbedError
from roadbed.gateway.account import Account
from roadbed.gateway.snapshot import (
    KeyEntry,
    LimitsEntry,
    ListenEntry,
    PriceEntry,
    ReplicaEntry,
    ServiceEntry,
    Snapshot,
    TenantEntry,
)
from roadbed.spec.platform import GatewayConfig, PriceBook
from roadbed.spec.service import VllmEngine
from roadbed.spec.tenant import Limits

logger = logging.getLogger(__name__)

EXPIRY_PASS_S = 30.0
"""Keys that expired leave the file this soon; gateways check expiry themselves."""
PUBLISHED = ("ready", "draining")
_WHY = {
    "no_capacity": "no machine has room for a replica now",
    "too_large": "a replica is larger than any machine here",
    "model": "its model cannot be fetched",
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says, read in one transaction."""

    services: list[ServiceRow]
    replicas: list[ReplicaRow]
    tenants: list[TenantRow]
    keys: list[KeyRow]
    starts_s: dict[str, list[float]] = {}
    """Measured cold starts of services with scaling."""


def build_snapshot(facts: Facts, listen: ListenEntry, prices: PriceBook, create_engine: EngineFactory) -> Snapshot:
    """Pure but for API keys of engines, which adapters read from the environment. Version 0."""
    taken: set[str] = set()
    services: list[ServiceEntry] = []
    for row in sorted(facts.services, key=lambda row: row.created_at):
        # A model served by two services leads to the older one; the other has its own name.
        models = tuple(name for name in model_names(row.spec) if name not in taken)
        adapters = tuple(adapter.name for adapter in row.spec.adapters)  # all: engines know them by their place
        taken.update(models, adapters)
        replicas = [r for r in facts.replicas if r.service == row.name and r.state in PUBLISHED]
        entry = _service(row, models, replicas, prices, create_engine)
        if adapters:
            places = row.spec.engine.adapter_places if isinstance(row.spec.engine, VllmEngine) else 0
            entry = msgspec.structs.replace(entry, adapters=adapters, max_adapters=places)
        if row.spec.scaling is not None:
            mine = [r for r in facts.replicas if r.service == row.name]
            entry = _held(entry, row, mine, facts.starts_s.get(row.name, []))
        services.append(entry)
    return Snapshot(
        version=0,
        listen=listen,
        services=tuple(services),
        tenants=tuple(TenantEntry(name=t.name, slot=t.slot, limits=limits_entry(t.limits)) for t in facts.tenants),
        keys=tuple(_key(row) for row in facts.keys if row.slot is not None),
    )


def listen_entry(config: GatewayConfig, port: int) -> ListenEntry:
    """The gateway section of config.yaml as workers read it, with the port it came to."""
    return ListenEntry(
        host=config.host,
        port=port,
        num_workers=config.workers,
        tls_cert=None if config.tls is None else config.tls.cert,
        tls_key=None if config.tls is None else config.tls.key,
        max_connections=config.max_connections,
        max_header_bytes=config.max_header_bytes,
        max_body_bytes=config.max_body_bytes,
        header_timeout_s=config.header_timeout,
        body_timeout_s=config.body_timeout,
        idle_timeout_s=config.idle_timeout,
        write_timeout_s=config.write_timeout,
        upstream_connect_timeout_s=config.upstream_connect_timeout,
        upstream_idle_timeout_s=config.upstream_idle_timeout,
        drain_timeout_s=config.drain_timeout,
        traffic_log_bytes=config.traffic_log,
    )


def limits_entry(limits: Limits) -> LimitsEntry:
    budget = limits.monthly_budget_cny
    return LimitsEntry(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
        monthly_budget_pico=None if budget is None else to_pico(budget),
    )


def read_snapshot(path: Path) -> Snapshot | None:
    """The file as it is, None when there is none or it is not ours to read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        logger.warning("%s is unreadable and is written anew: %s", path, error)
        return None


def write_private(path: Path, content: bytes) -> None:
    """Replaces the file in one step; readable by its owner only from its first byte."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    draft.replace(path)


def choose_port(config: GatewayConfig, before: Snapshot | None) -> int:
    """The configured port; for 0 the one of the last snapshot, so a restarted control keeps it, else a free one."""
    if config.port:
        return config.port
    if before is not None and before.listen.host == config.host and before.listen.port:
        return before.listen.port
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.bind((config.host, 0))
        return int(listener.getsockname()[1])


class Publisher:
    """`one_pass` is what the loop runs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last = read_snapshot(state.home.snapshot)
        self._seeded = state.account is None or not state.account.created

    async def one_pass(self) -> float:
        await asyncio.to_thread(self.publish)
        return EXPIRY_PASS_S

    def publish(self) -> Snapshot:
        """Writes the file if the store says something else than it; returns what is in force."""
        state = self._state
        facts = self._read()
        listen = listen_entry(state.config.gateway, state.gateway_port)
        wanted = build_snapshot(facts, listen, state.config.prices, state.create_engine)
        last = self._last
        if last is not None and self._seeded and msgspec.structs.replace(last, version=0) == wanted:
            return last
        if state.account is not None:
            before = None if not self._seeded and state.account.created else last
            self._clear_new_owners(state.account, before, wanted)
            self._seeded = True
        with state.store.write("publish") as connection:
            version = next_number(connection, "snapshot.version", at_least=0 if last is None else last.version)
        snapshot = msgspec.structs.replace(wanted, version=version)
        write_private(state.home.snapshot, msgspec.json.encode(snapshot))
        self._last = snapshot
        return snapshot

    def _read(self) -> Facts:
        store = self._state.store
        with store.read() as connection:
            services = list_services(connection)
            scaled = [row.name for row in services if row.spec.scaling is not None and row.spec.replicas.min == 0]
            return Facts(
                services=services,
                replicas=list_replicas(connection),
                tenants=list_tenants(connection),
                keys=[key for key in list_keys(connection) if key.is_live(store.clock())],
                starts_s={name: last_starts_s(connection, name) for name in scaled},
            )

    def _clear_new_owners(self, account: Account, before: Snapshot | None, after: Snapshot) -> None:
        """Counters of slots whose owner is new: cleared, and this month's spend put back from the store."""
        known = {} if before is None else _owners(before)
        now = self._state.store.clock()
        new = {slot: owner for slot, owner in _owners(after).items() if known.get(slot) != owner}
        spent = self._spent(now) if any(kind == "limit" for kind, _ in new) else {}
        for (kind, slot), owner in new.items():
            if kind == "replica":
                account.reset_replica(slot)
            else:
                account.reset_limits(slot)
                account.seed_spent(slot, now, spent.get(owner, 0))

    def _spent(self, now: float) -> Mapping[str, int]:
        """Spend of the running month, by `key:<id>` and `tenant:<name>`."""
        since = month_start(now)
        with self._state.store.read() as connection:
            keys = sum_usage(connection, ["key"], since=since, limit=1_000_000)
            tenants = sum_usage(connection, ["tenant"], since=since, limit=1_000_000)
        spent = {f"key:{row.group['key']}": row.cost_pico for row in keys}
        return spent | {f"tenant:{row.group['tenant']}": row.cost_pico for row in tenants}


def _owners(snapshot: Snapshot) -> dict[tuple[str, int], str]:
    owners = {("replica", r.slot): r.id for service in snapshot.services for r in service.replicas}
    owners |= {("replica", s.slot): f"service:{s.name}" for s in snapshot.services if s.slot >= 0}
    owners |= {("limit", key.slot): f"key:{key.id}" for key in snapshot.keys}
    return owners | {("limit", tenant.slot): f"tenant:{tenant.name}" for tenant in snapshot.tenants}


def _service(
    row: ServiceRow, models: tuple[str, ...], replicas: list[ReplicaRow], prices: PriceBook, create: EngineFactory
) -> ServiceEntry:
    spec = row.spec
    rates = price_entry(prices, models[0] if models else row.name)
    entries = [entry for entry in (_replica(replica, create) for replica in replicas) if entry is not None]
    return ServiceEntry(
        name=row.name,
        models=models,
        policy=spec.routing.policy,
        priority=spec.priority,
        slo_ttft_s=spec.slo.ttft,
        slo_tpot_s=spec.slo.tpot,
        max_queue=spec.routing.max_queue,
        max_wait_s=spec.routing.max_wait,
        created_at=int(row.created_at),
        num_desired=row.num_desired,
        price=PriceEntry(
            input_pico=rates.input_pico, cached_input_pico=rates.cached_input_pico, output_pico=rates.output_pico
        ),
        replicas=tuple(sorted(entries, key=lambda entry: entry.slot)),
    )


def _held(entry: ServiceEntry, row: ServiceRow, replicas: list[ReplicaRow], starts_s: list[float]) -> ServiceEntry:
    """What gateways need of a service that load scales. While nobody answers for it requests may wait longer."""
    there = any(not replica.draining for replica in entry.replicas)
    return msgspec.structs.replace(
        entry,
        slot=-1 if row.slot is None else row.slot,
        holds=True,
        max_wait_s=entry.max_wait_s if there else hold_s(row.spec, starts_s),
        note="" if there else _why_nobody(row, replicas),
    )


def _why_nobody(row: ServiceRow, replicas: list[ReplicaRow]) -> str:
    """Why a service has no replica that answers, in words for clients: no names, no paths, no last words."""
    for replica in replicas:
        if replica.state == "failed":
            return _WHY.get(replica.reason, "its engine does not start")
        if replica.state == "pending" and replica.reason:
            quota = replica.reason.startswith("quota")
            return "its quota is used up" if quota else _WHY.get(replica.reason, "it has to wait for a place")
    if row.num_desired == 0 and row.pinned_at is not None:
        return "it was set to 0 replicas by hand"
    return "a replica is starting" if row.num_desired else ""


def _replica(row: ReplicaRow, create: EngineFactory) -> ReplicaEntry | None:
    try:
        endpoint = create(row.spec.engine).endpoint(row.idx, row.port)
    except RoadbedError as error:
        logger.error("%s has no endpoint and is left out of the snapshot: %s", row.id, error)
        return None
    if row.capacity is None:
        return None
    return ReplicaEntry(
        id=row.id,
        slot=row.slot,
        host=endpoint.host,
        port=endpoint.port,
        tls=endpoint.tls,
        base_path=endpoint.base_path,
        api_key=endpoint.api_key,
        upstream_model=upstream_model(row),
        draining=row.state == "draining",
        role=_role(row),
        max_concurrency=row.capacity.max_concurrency,
        kv_tokens=row.capacity.kv_tokens,
        context_tokens=row.capacity.context_tokens,
        capabilities=row.capacity.capabilities,
        kind=_kind(row),
    )


def _kind(row: ReplicaRow) -> str:
    """What its speed depends on: the spec it was made with and the machines it is on."""
    slots = row.placement.slots if row.placement is not None else ()
    return " ".join([f"g{row.generation}", *(f"n{slot.node}" for slot in slots)])


def _role(row: ReplicaRow) -> str:
    """The first of a service with engine.roles compute prompts."""
    roles = row.spec.engine.roles if isinstance(row.spec.engine, VllmEngine) else None
    return "" if roles is None else "prefill" if row.idx < roles.prefill else "decode"


def _key(row: KeyRow) -> KeyEntry:
    return KeyEntry(
        id=row.id,
        digest=row.digest,
        tenant=row.tenant,
        slot=-1 if row.slot is None else row.slot,
        scopes=tuple(row.scopes),
        models=tuple(row.models),
        expires_at=row.expires_at,
        limits=limits_entry(row.limits),
    )
