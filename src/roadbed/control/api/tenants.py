"""/api/tenants."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.api.common import ACTOR, NamePath, StateDep, View, errors, require_admin
from roadbed.control.services.tenant import apply_tenant, remove_tenant
from roadbed.control.store.tenant import TenantRow, list_tenants
from roadbed.spec.tenant import Limits, Tenant

router = APIRouter(tags=["tenants"], dependencies=[Depends(require_admin)])

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"


class LimitsBody(BaseModel):
    """Ceilings; null = none."""

    model_config = ConfigDict(extra="forbid", strict=True, from_attributes=True)

    requests_per_minute: Annotated[int, Field(ge=1, le=2**53)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1, le=2**53)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=2**53)] | None = None
    monthly_budget_cny: Annotated[float, Field(gt=0, le=1e9)] | None = None

    def to_spec(self) -> Limits:
        return Limits(**self.model_dump())


class TenantBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    limits: LimitsBody = LimitsBody()


class TenantView(View):
    name: str
    limits: LimitsBody
    slot: int
    created_at: float
    updated_at: float


class TenantsView(View):
    tenants: list[TenantView]


@router.get("/tenants", response_model=TenantsView, responses=errors())
def get_tenants(state: StateDep) -> dict[str, Any]:
    with state.store.read() as connection:
        return {"tenants": list_tenants(connection)}


@router.post("/tenants", response_model=TenantView, responses=errors())
def post_tenant(state: StateDep, body: TenantBody) -> TenantRow:
    """Creates it, or changes its limits."""
    with state.store.write() as connection:
        return apply_tenant(state.store, connection, Tenant(name=body.name, limits=body.limits.to_spec()), ACTOR)


@router.delete("/tenants/{name}", status_code=204, responses=errors(404, 409))
def delete_one_tenant(state: StateDep, name: NamePath) -> Response:
    """Refused while it has keys; its usage stays."""
    remove_tenant(state.store, name, ACTOR)
    return Response(status_code=204)
