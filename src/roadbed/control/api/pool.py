"""/api/queue, /api/quotas, /api/nodes: the pool and who waits for it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.api.common import ACTOR, NamePath, StateDep, View, errors, require_admin
from roadbed.control.services.pool import Entry, NodeView, Standing, cordon, nodes, queue, quotas
from roadbed.control.services.quota import remove_quota

router = APIRouter(tags=["pool"], dependencies=[Depends(require_admin)])


class EntryView(View):
    noun: str
    """task or replica."""
    name: str
    quota: str
    position: int
    priority: int
    num_processes: int
    devices: float
    cpu: float
    since: float
    reason: str
    message: str


class QueueView(View):
    queue: list[EntryView]


class ShareView(View):
    used: float
    waiting: float
    min: float
    max: float | None
    fair: float


class StandingView(View):
    name: str
    parent: str | None
    strategy: str
    backfill: str
    weight: float
    lending: bool
    borrowing: bool
    resources: dict[str, ShareView]
    num_waiting: int


class QuotasView(View):
    quotas: list[StandingView]


class QuotaView(View):
    name: str
    created_at: float
    updated_at: float


class HolderView(View):
    noun: str
    name: str
    quota: str
    devices: list[int]
    num_processes: int


class MachineView(View):
    name: str
    chip: str
    num_devices: int
    device_memory_mib: int
    free: list[float]
    cpu: float
    cpu_free: float
    memory_mib: int
    memory_free_mib: int
    pod: str
    segment: str
    cordoned: bool
    drain: bool
    risk: float
    schedulable: bool
    holders: list[HolderView]


class NodesView(View):
    nodes: list[MachineView]


class CordonBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    on: bool = True
    """False: it takes work again."""
    drain: bool = False
    """What runs there moves at its next checkpoint, where another machine has a place for it."""
    risk: Annotated[float, Field(ge=0, le=1)] | None = None
    """Predicted probability to fail soon; from 0.5 on it is treated as drained."""


class CordonedView(View):
    name: str
    cordoned: bool
    drain: bool
    risk: float
    updated_at: float


@router.get("/queue", response_model=QueueView, responses=errors())
def get_queue(state: StateDep) -> dict[str, list[Entry]]:
    """What waits for a place, each quota's in order of turn."""
    return {"queue": queue(state)}


@router.get("/quotas", response_model=QuotasView, responses=errors())
def get_quotas(state: StateDep) -> dict[str, list[Standing]]:
    """How every quota stands; amounts are devices and cores."""
    return {"quotas": quotas(state)}


@router.delete("/quotas/{name}", response_model=QuotaView, responses=errors(404, 409))
def delete_one_quota(state: StateDep, name: NamePath) -> Any:
    return remove_quota(state.store, name, ACTOR)


@router.get("/nodes", response_model=NodesView, responses=errors())
def get_nodes(state: StateDep) -> dict[str, list[NodeView]]:
    """The machines, what is free of them, and who is on them."""
    return {"nodes": nodes(state)}


@router.post("/nodes/{name}/cordon", response_model=CordonedView, responses=errors(404))
def post_cordon(state: StateDep, name: NamePath, body: CordonBody) -> Any:
    """Takes a machine out of the pool for new work, or back in."""
    return cordon(state, name, ACTOR, on=body.on, drain=body.drain, risk=body.risk)
