"""/api/keys: made here, shown once, revoked within a second."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.api.common import ACTOR, NameQuery, StateDep, View, errors, require_admin
from roadbed.control.api.tenants import NAME_PATTERN, LimitsBody
from roadbed.control.services.key import create_key, remove_key
from roadbed.control.store.key import KeyRow, list_keys
from roadbed.spec.tenant import Key, Scope

router = APIRouter(tags=["keys"], dependencies=[Depends(require_admin)])

_Model = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class KeyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    tenant: Annotated[str, Field(pattern=NAME_PATTERN)] = "default"
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10)] = ["inference", "usage:read"]
    models: Annotated[list[_Model], Field(max_length=1000)] = []
    expires_in: Annotated[float, Field(gt=0, le=1e9, strict=True)] | None = None
    """Seconds."""
    limits: LimitsBody = LimitsBody()


class KeyView(View):
    id: str
    name: str
    tenant: str
    prefix: str
    scopes: list[str]
    models: list[str]
    limits: LimitsBody
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class NewKeyView(View):
    key: KeyView
    secret: str
    """The whole key; this is the only time it is shown."""


class KeysView(View):
    keys: list[KeyView]


@router.get("/keys", response_model=KeysView, responses=errors())
def get_keys(
    state: StateDep, tenant: NameQuery = None, revoked: Annotated[bool, Query(description="Revoked ones too.")] = False
) -> dict[str, Any]:
    with state.store.read() as connection:
        return {"keys": list_keys(connection, tenant=tenant, revoked=revoked)}


@router.post("/keys", response_model=NewKeyView, status_code=201, responses=errors(404))
def post_key(state: StateDep, body: KeyBody) -> dict[str, Any]:
    """Makes a key; its secret is in this answer and nowhere else."""
    spec = Key(
        name=body.name,
        tenant=body.tenant,
        scopes=body.scopes,
        models=body.models,
        expires_in=body.expires_in,
        limits=body.limits.to_spec(),
    )
    with state.store.write() as connection:
        made = create_key(state.store, connection, spec, ACTOR)
    return {"key": made.row, "secret": made.secret}


@router.delete("/keys/{key_id}", response_model=KeyView, responses=errors(404))
def delete_key(state: StateDep, key_id: Annotated[str, Path(pattern=r"^[a-z2-7]{12}$")]) -> KeyRow:
    """Revokes it; again is fine."""
    return remove_key(state.store, key_id, ACTOR)
