"""The state of the whole platform in one answer, and the numbers of the last minutes for the console."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from roadbed.control.services.scaling import ScalingStatus, num_needed, scaling_status
from roadbed.control.state import State
from roadbed.control.store.replica import HOLDS_ROOM, ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow, list_services
from roadbed.control.store.usage import UsageSample, list_samples
from roadbed.runtime.base import ProcessStatus

WINDOW_S = 60.0


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`num_needed`: how many must be ready for it to be well."""

    name: str
    model: str
    engine: str
    generation: int
    num_desired: int
    num_ready: int
    num_needed: int
    num_replicas: int
    deleting: bool
    scaling: ScalingStatus | None


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Cores and bytes handed out, of those there are."""

    cpu: float
    cpu_reserved: float
    memory_bytes: int
    memory_reserved_bytes: int


class PlatformStatus(msgspec.Struct, frozen=True, kw_only=True):
    healthy: bool
    services: list[ServiceStatus]
    processes: list[ProcessStatus]
    node: NodeStatus


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; None without samples."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class LiveReplica(msgspec.Struct, frozen=True, kw_only=True):
    """`in_flight` is the gateways' exact count; the rest is what the engine last said of itself."""

    id: str
    service: str
    state: str
    in_flight: int
    num_running: int
    num_waiting: int
    kv_usage: float
    tokens_per_s: float
    reported_at: float | None


class LiveService(msgspec.Struct, frozen=True, kw_only=True):
    """Over the window: finished requests per second, completion tokens per second, TTFT, outcomes and routes."""

    name: str
    requests_per_s: float
    tokens_per_s: float
    ttft_s: Percentiles
    ttft_predicted_s: Percentiles
    """Of the same requests, as the router predicted them."""
    outcomes: dict[str, int]
    routes: dict[str, int]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    window_s: float
    requests_per_s: float
    tokens_per_s: float
    ttft_s: Percentiles
    outcomes: dict[str, int]
    routes: dict[str, int]
    services: list[LiveService]
    replicas: list[LiveReplica]


def platform_status(state: State, processes: list[ProcessStatus]) -> PlatformStatus:
    """`healthy`: every service has what it needs and every gateway worker runs."""
    with state.store.read() as connection:
        services = list_services(connection, deleted=True)
        replicas = list_replicas(connection)
    statuses = [
        _service(state, row, [replica for replica in replicas if replica.service == row.name])
        for row in services
        if row.deleted_at is None or any(replica.service == row.name for replica in replicas)
    ]
    num_gateways = sum(p.labels.get("noun") == "gateway" and p.state == "running" for p in processes)
    held = [row for row in replicas if row.state in HOLDS_ROOM and not row.is_external]
    wished = all(status.num_ready >= status.num_needed for status in statuses)
    return PlatformStatus(
        healthy=wished and num_gateways >= state.config.gateway.workers,
        services=statuses,
        processes=sorted(processes, key=lambda process: process.name),
        node=NodeStatus(
            cpu=state.node.cpu,
            cpu_reserved=sum(row.spec.resources.cpu for row in held),
            memory_bytes=state.node.memory_bytes,
            memory_reserved_bytes=sum(row.spec.resources.memory for row in held),
        ),
    )


def live(state: State, window_s: float = WINDOW_S) -> Live:
    """Numbers of the last `window_s`, from what is in the store and what engines last said."""
    now = state.store.clock()
    with state.store.read() as connection:
        services = list_services(connection)
        replicas = list_replicas(connection)
        samples = list_samples(connection, now - window_s)
    total = _live_service("", samples, window_s)
    return Live(
        at=now,
        window_s=window_s,
        requests_per_s=total.requests_per_s,
        tokens_per_s=total.tokens_per_s,
        ttft_s=total.ttft_s,
        outcomes=total.outcomes,
        routes=total.routes,
        services=[
            _live_service(row.name, [sample for sample in samples if sample.service == row.name], window_s)
            for row in services
        ],
        replicas=[_live_replica(state, row) for row in replicas],
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Nearest rank: always a value that was measured."""
    if not values:
        return Percentiles()
    ordered = sorted(values)
    p50, p90, p99 = (ordered[-(-len(ordered) * q // 100) - 1] for q in (50, 90, 99))
    return Percentiles(p50=p50, p90=p90, p99=p99)


def _service(state: State, row: ServiceRow, replicas: list[ReplicaRow]) -> ServiceStatus:
    return ServiceStatus(
        name=row.name,
        model=row.spec.model,
        engine=row.spec.engine.kind,
        generation=row.generation,
        num_desired=0 if row.deleted_at is not None else row.num_desired,
        num_ready=sum(replica.state == "ready" for replica in replicas),
        num_needed=num_needed(row, replicas),
        num_replicas=len(replicas),
        deleting=row.deleted_at is not None,
        scaling=scaling_status(state, row),
    )


def _live_service(name: str, samples: Sequence[UsageSample], window_s: float) -> LiveService:
    return LiveService(
        name=name,
        requests_per_s=len(samples) / window_s,
        tokens_per_s=sum(sample.completion_tokens for sample in samples) / window_s,
        ttft_s=percentiles([sample.ttft_s for sample in samples if sample.ttft_s > 0.0]),
        ttft_predicted_s=percentiles([s.predicted_ttft_s for s in samples if s.ttft_s > 0.0 < s.predicted_ttft_s]),
        outcomes=dict(Counter(sample.outcome for sample in samples)),
        routes=dict(Counter(sample.route for sample in samples if sample.route)),
    )


def _live_replica(state: State, row: ReplicaRow) -> LiveReplica:
    samples = state.loads.get(row.id)
    last = samples[-1] if samples else None
    return LiveReplica(
        id=row.id,
        service=row.service,
        state=row.state,
        in_flight=0 if state.account is None else state.account.totals(row.slot).in_flight,
        num_running=0 if last is None else last.report.num_running,
        num_waiting=0 if last is None else last.report.num_waiting,
        kv_usage=0.0 if last is None else last.report.kv_usage,
        tokens_per_s=0.0 if last is None else last.tokens_per_s,
        reported_at=None if last is None else last.at,
    )
