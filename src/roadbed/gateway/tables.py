"""The snapshot, turned into what the hot path looks things up in. Rebuilt on a change; state that learns is kept."""

import asyncio
import random
import ssl

from xxhash import xxh3_64_intdigest

from roadbed.gateway.access import Callers
from roadbed.gateway.metrics import Metrics, Tally
from roadbed.gateway.openai.bodies import EndpointName
from roadbed.gateway.snapshot import ListenEntry, ReplicaEntry, ServiceEntry, Snapshot
from roadbed.gateway.wire.upstream import Pool
from roadbed.router.account import AccountView
from roadbed.router.base import ReplicaInfo
from roadbed.router.core import RouterCore

_PATHS: dict[EndpointName, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}


class Replica:
    """Where a request is sent."""

    __slots__ = ("asks_streams", "entry", "fields", "heads", "id", "lora_by_id", "pool", "upstream_model")

    def __init__(self, entry: ReplicaEntry, pool: Pool) -> None:
        self.entry = entry
        self.pool = pool
        self.id = entry.id
        self.upstream_model = entry.upstream_model
        self.asks_streams = "stops_streams_only" in entry.capabilities
        self.lora_by_id = "lora_by_id" in entry.capabilities
        port = "" if entry.port == (443 if entry.tls else 80) else f":{entry.port}"
        self.fields = f"host: {entry.host}{port}\r\ncontent-type: application/json\r\n"
        if entry.api_key is not None:
            self.fields += f"authorization: Bearer {entry.api_key}\r\n"
        self.heads = {
            endpoint: f"POST {entry.base_path}{path} HTTP/1.1\r\n{self.fields}" for endpoint, path in _PATHS.items()
        }
        """By endpoint: the part of a request's head that is always the same."""


class Service:
    """A model as this worker serves it. `replicas` is by slot and keeps departed ones until they are idle."""

    __slots__ = (
        "_metrics", "cached_pico", "canonical", "capabilities", "context_tokens", "entry", "input_pico", "name",
        "num_told", "output_pico", "prefill", "priority", "replicas", "router", "slo_tpot_s", "slo_ttft_s", "tally",
    )  # fmt: skip

    def __init__(self, entry: ServiceEntry, router: RouterCore, metrics: Metrics) -> None:
        self._metrics = metrics
        self.num_told = 0
        """How many requests it holds, as the account was told."""
        self.entry = entry
        self.configure(entry)
        self.name = entry.name
        self.router = router
        self.replicas: dict[int, Replica] = {}
        self.prefill: RouterCore | None = None
        """Chooses who computes prompts, where that is apart from decoding."""
        self.context_tokens = 0
        self.capabilities: frozenset[str] = frozenset()

    def configure(self, entry: ServiceEntry) -> None:
        """Takes over a changed entry; prices are in pico-CNY per token."""
        if entry.slot != self.entry.slot:
            self.num_told = 0  # a row that is new to us is empty
        self.entry = entry
        self.tally: Tally = self._metrics.tally(entry.name, entry.policy)
        self.canonical = entry.models[0]
        self.priority = entry.priority
        self.slo_ttft_s, self.slo_tpot_s = entry.slo_ttft_s, entry.slo_tpot_s
        self.input_pico = entry.price.input_pico
        self.cached_pico = entry.price.cached_input_pico
        self.output_pico = entry.price.output_pico

    @property
    def num_open(self) -> int:
        """Replicas that may receive requests."""
        return sum(not replica.info.draining for replica in self.router.replicas)


class Tables:
    """Everything of one snapshot."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, account: AccountView, listen: ListenEntry, metrics: Metrics, seed: int
    ) -> None:
        self._loop = loop
        self._metrics = metrics
        self._account = account
        self._listen = listen
        self._random = random.Random(seed)
        self._pools: dict[tuple[str, int, bool], Pool] = {}
        self.services: dict[str, Service] = {}
        self.models: dict[str, Service] = {}
        self.adapters: dict[str, Service] = {}
        """By name: whose model it adapts."""
        self.seeds: dict[str, int] = {}
        """By model: where the hash chains of its prompts begin."""
        self.callers = Callers(Snapshot(version=-1))
        self._departed: list[Service] = []
        self.version = -1

    def apply(self, snapshot: Snapshot, now: float) -> None:
        """Swaps in a snapshot: services keep their routers as long as the name stays. Waiting requests are looked at
        by the next tick, those of a service that left run into their deadline."""
        services: dict[str, Service] = {}
        models: dict[str, Service] = {}
        adapters: dict[str, Service] = {}
        for entry in snapshot.services:
            service = self._service(entry)
            self._set_replicas(service, entry, now)
            services[entry.name] = service
            for model in entry.models:
                models.setdefault(model, service)
            for adapter in entry.adapters:
                if models.setdefault(adapter, service) is service:
                    adapters[adapter] = service
        for name in self.services.keys() - services.keys():
            departed = self.services[name]
            departed.router.set_replicas([], now)
            if departed.router.num_live or departed.router.num_waiting:
                self._departed.append(departed)
        self.services, self.models, self.adapters = services, models, adapters
        self.seeds = {model: xxh3_64_intdigest(model.encode()) for model in models}
        self.callers = Callers(snapshot)
        self.version = snapshot.version
        self._departed = [service for service in self._departed if service.router.num_live]
        self._drop_unused_pools()

    def _service(self, entry: ServiceEntry) -> Service:
        known = self.services.get(entry.name)
        if known is not None:
            known.configure(entry)
            known.router.configure(policy=entry.policy, max_queue=entry.max_queue, max_wait_s=entry.max_wait_s)
            return known
        router = RouterCore(
            account=self._account,
            policy=entry.policy,
            seed=self._random.getrandbits(32),
            max_queue=entry.max_queue,
            max_wait_s=entry.max_wait_s,
            publish_news=self._listen.num_workers > 1,
        )
        return Service(entry, router, self._metrics)

    def _set_replicas(self, service: Service, entry: ServiceEntry, now: float) -> None:
        infos: list[ReplicaInfo] = []
        prefills: list[ReplicaInfo] = []
        for replica in entry.replicas:
            known = service.replicas.get(replica.slot)
            if known is None or known.entry != replica:
                service.replicas[replica.slot] = Replica(replica, self._pool(replica))
            (prefills if replica.role == "prefill" else infos).append(
                ReplicaInfo(
                    id=replica.id,
                    slot=replica.slot,
                    max_concurrency=replica.max_concurrency,
                    kv_tokens=replica.kv_tokens,
                    draining=replica.draining,
                    adapters=entry.adapters,
                    max_adapters=entry.max_adapters,
                    kind=replica.kind,
                )
            )
        live = [replica for replica in entry.replicas if not replica.draining]
        service.context_tokens = max((replica.context_tokens for replica in live), default=0)
        service.capabilities = frozenset(c for replica in live for c in replica.capabilities)
        service.router.set_replicas(infos, now)
        if prefills and service.prefill is None:
            service.prefill = RouterCore(
                account=self._account, policy=entry.policy, seed=self._random.getrandbits(32), admission=False
            )
        if service.prefill is not None:
            service.prefill.set_replicas(prefills, now)

    def _pool(self, entry: ReplicaEntry) -> Pool:
        where = (entry.host, entry.port, entry.tls)
        pool = self._pools.get(where)
        if pool is None:
            pool = self._pools[where] = Pool(
                self._loop,
                entry.host,
                entry.port,
                ssl=ssl.create_default_context() if entry.tls else None,
                connect_timeout_s=self._listen.upstream_connect_timeout_s,
                idle_timeout_s=self._listen.upstream_idle_timeout_s,
            )
        return pool

    def _drop_unused_pools(self) -> None:
        """Closes idle connections to engines that left; a request under way keeps its own."""
        used = {
            (replica.entry.host, replica.entry.port, replica.entry.tls)
            for service in self.services.values()
            for replica in service.replicas.values()
            if any(replica.entry.id == entry.id for entry in service.entry.replicas)
        }
        for where in self._pools.keys() - used:
            self._pools.pop(where).retire()

    def ticking(self) -> list[Service]:
        """Services whose routers need `tick`, those that left with work under way included."""
        return [*self.services.values(), *self._departed]

    def sweep(self, now: float) -> None:
        """Once a second: stalled engines."""
        for pool in self._pools.values():
            pool.sweep(now)

    def close(self) -> None:
        """Drops all upstream connections."""
        for pool in self._pools.values():
            pool.close()
