"""/api/services and /api/replicas."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.api.common import ACTOR, NamePath, NameQuery, StateDep, View, errors, require_admin
from roadbed.control.api.events import EventView
from roadbed.control.services.explain import Explanation, explain_service
from roadbed.control.services.scaling import scaling_status
from roadbed.control.services.service import delete_service, release_service, require_service, scale_service
from roadbed.control.state import State
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow, list_services

router = APIRouter(tags=["services"], dependencies=[Depends(require_admin)])


class CapacityView(View):
    max_concurrency: int
    kv_tokens: int
    context_tokens: int
    capabilities: list[str]


class ReplicaView(View):
    id: str
    service: str
    generation: int
    idx: int
    slot: int
    state: str
    reason: str
    message: str
    process: str
    port: int
    capacity: CapacityView | None
    restarts: int
    since: float
    ready_at: float | None
    retry_at: float | None
    created_at: float


class ScalingView(View):
    policy: str
    num_min: int
    num_max: int
    pinned: bool
    """The number was set by hand and stands."""
    num_affordable: int
    """Most that the cost cap pays for."""
    target: float
    """Requests in flight that are right for one replica."""
    cold_start_s: float
    num_waiting: int
    """Requests the gateways hold now."""
    amount: float | None
    """Requests in flight, mean before the last decision."""
    reason: str
    decided_at: float | None
    why: str


class ServiceView(View):
    name: str
    spec: dict[str, Any]
    generation: int
    launch_generation: int
    num_desired: int
    created_at: float
    updated_at: float
    deleted_at: float | None
    scaling: ScalingView | None
    replicas: list[ReplicaView]


class ServicesView(View):
    services: list[ServiceView]


class ReplicasView(View):
    replicas: list[ReplicaView]


class ScaleBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replicas: Annotated[int, Field(ge=0, le=100_000, strict=True)] | Literal["auto"]


class ReplicaStoryView(View):
    id: str
    state: str
    since: float
    why: str
    next: str
    next_at: float | None


class ExplanationView(View):
    service: str
    summary: str
    generation: int
    num_desired: int
    num_ready: int
    scaling: ScalingView | None
    replicas: list[ReplicaStoryView]
    events: list[EventView]


@router.get("/services", response_model=ServicesView, responses=errors())
def get_services(state: StateDep) -> dict[str, Any]:
    """All services, those on their way out included while they have replicas."""
    with state.store.read() as connection:
        rows = list_services(connection, deleted=True)
        replicas = list_replicas(connection)
    by_service = {row.name: [replica for replica in replicas if replica.service == row.name] for row in rows}
    shown = [row for row in rows if row.deleted_at is None or by_service[row.name]]
    return {"services": [_view(state, row, by_service[row.name]) for row in shown]}


@router.get("/services/{name}", response_model=ServiceView, responses=errors(404))
def get_one_service(state: StateDep, name: NamePath) -> dict[str, Any]:
    with state.store.read() as connection:
        return _view(state, require_service(connection, name), list_replicas(connection, name))


@router.delete("/services/{name}", response_model=ServiceView, responses=errors(404))
def remove_service(state: StateDep, name: NamePath) -> dict[str, Any]:
    """Its replicas drain and stop; the name is free at once."""
    return _with_replicas(state, delete_service(state.store, name, ACTOR))


@router.post("/services/{name}/scale", response_model=ServiceView, responses=errors(404))
def post_scale(state: StateDep, name: NamePath, body: ScaleBody) -> dict[str, Any]:
    """Sets how many replicas are wanted, inside the spec's range. Where load decides, it stands until `auto`."""
    if body.replicas == "auto":
        return _with_replicas(state, release_service(state.store, name, ACTOR))
    return _with_replicas(state, scale_service(state.store, name, body.replicas, ACTOR))


@router.get("/services/{name}/explain", response_model=ExplanationView, responses=errors(404))
def get_explain(state: StateDep, name: NamePath, events: Annotated[int, Query(ge=1, le=1000)] = 50) -> Explanation:
    """Its story, why each replica is in its state, and what comes next."""
    return explain_service(state, name, num_events=events)


@router.get("/replicas", response_model=ReplicasView, responses=errors())
def get_replicas(state: StateDep, service: NameQuery = None) -> dict[str, list[ReplicaRow]]:
    with state.store.read() as connection:
        return {"replicas": list_replicas(connection, service)}


def _with_replicas(state: StateDep, row: ServiceRow) -> dict[str, Any]:
    with state.store.read() as connection:
        return _view(state, row, list_replicas(connection, row.name))


def _view(state: State, row: ServiceRow, replicas: list[ReplicaRow]) -> dict[str, Any]:
    fields = {field: getattr(row, field) for field in row.__struct_fields__}
    shown = {"spec": row.spec.model_dump(mode="json"), "scaling": scaling_status(state, row), "replicas": replicas}
    return {**fields, **shown}
