"""/api/version, /api/health, /api/status, /api/live: is it there, is it well, what is it doing."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from roadbed import __version__
from roadbed.control.api.common import StateDep, View, errors, require_admin
from roadbed.control.api.services import ScalingView
from roadbed.control.services.status import Live, PlatformStatus, live, platform_status

API_LEVEL = 1
"""Grows when a client of the level before would misunderstand an answer."""

router = APIRouter(tags=["platform"])


class VersionView(View):
    version: str
    api_level: int


class HealthView(View):
    status: Literal["ok"]


class ServiceStatusView(View):
    name: str
    model: str
    engine: str
    generation: int
    num_desired: int
    num_ready: int
    num_needed: int
    """How many must be ready for it to be well; where load decides, no more than the least."""
    num_replicas: int
    deleting: bool
    scaling: ScalingView | None


class ProcessView(View):
    name: str
    pid: int
    state: str
    started_at: float
    exited_at: float | None
    exit_code: int | None
    signal: int | None
    labels: dict[str, str]
    log_path: str


class NodeView(View):
    cpu: float
    cpu_reserved: float
    memory_bytes: int
    memory_reserved_bytes: int


class StatusView(View):
    healthy: bool
    """Every service has what it needs and every gateway worker runs."""
    services: list[ServiceStatusView]
    processes: list[ProcessView]
    node: NodeView


class PercentilesView(View):
    p50: float | None
    p90: float | None
    p99: float | None


class LiveServiceView(View):
    name: str
    requests_per_s: float
    tokens_per_s: float
    ttft_s: PercentilesView
    ttft_predicted_s: PercentilesView
    outcomes: dict[str, int]
    routes: dict[str, int]


class LiveReplicaView(View):
    id: str
    service: str
    state: str
    in_flight: int
    num_running: int
    num_waiting: int
    kv_usage: float
    tokens_per_s: float
    reported_at: float | None


class LiveView(View):
    at: float
    window_s: float
    requests_per_s: float
    tokens_per_s: float
    ttft_s: PercentilesView
    outcomes: dict[str, int]
    routes: dict[str, int]
    services: list[LiveServiceView]
    replicas: list[LiveReplicaView]


@router.get("/version", response_model=VersionView)
def get_version() -> VersionView:
    """What runs here; needs no token."""
    return VersionView(version=__version__, api_level=API_LEVEL)


@router.get("/health", response_model=HealthView, responses=errors())
async def get_health(state: StateDep) -> HealthView:
    """Ok when control can read its store; needs no token."""
    await run_in_threadpool(_read_once, state)
    return HealthView(status="ok")


@router.get("/status", response_model=StatusView, responses=errors(), dependencies=[Depends(require_admin)])
async def get_status(state: StateDep) -> PlatformStatus:
    """Services, processes and what of the node is handed out."""
    processes = await state.runtime.list()
    return await run_in_threadpool(platform_status, state, processes)


@router.get("/live", response_model=LiveView, responses=errors(), dependencies=[Depends(require_admin)])
def get_live(state: StateDep, window_s: Annotated[float, Query(ge=1, le=3600)] = 60.0) -> Live:
    """Rates, TTFT percentiles, outcomes and route reasons of the last `window_s`; engines' last reports."""
    return live(state, window_s)


def _read_once(state: StateDep) -> None:
    with state.store.read() as connection:
        connection.exec_driver_sql("SELECT 1")
