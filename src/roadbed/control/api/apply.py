"""POST /api/plan and /api/apply: a file of specs, shown or done."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from roadbed.control.api.common import ACTOR, StateDep, View, errors, require_admin
from roadbed.control.services.apply import Applied, apply, plan
from roadbed.control.services.service import Plan
from roadbed.errors import SpecError
from roadbed.spec.load import APPLICABLE_KINDS, AnySpec, Applicable, applicable, load_value

router = APIRouter(tags=["apply"], dependencies=[Depends(require_admin)])

MAX_SPECS = 1000
_SPEC_SCHEMA = {
    "type": "object",
    "description": "One spec document; the full schema of each kind is printed by `roadbed schema`.",
    "required": ["kind", "name"],
    "properties": {"kind": {"enum": list(APPLICABLE_KINDS)}, "name": {"type": "string"}},
}
SpecBody = Annotated[dict[str, Any], WithJsonSchema(_SPEC_SCHEMA)]


class SpecsBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    specs: Annotated[list[SpecBody], Field(max_length=MAX_SPECS)]


class FieldChangeView(View):
    field: str
    before: Any
    after: Any


class PlanView(View):
    kind: str
    name: str
    change: Literal["create", "update", "unchanged"]
    fields: list[FieldChangeView]
    effects: list[str]


class AppliedView(View):
    plan: PlanView
    generation: int | None
    id: str | None
    secret: str | None
    """Of a key just made; shown once."""


class PlansView(View):
    plans: list[PlanView]


class AppliedAllView(View):
    applied: list[AppliedView]


@router.post("/plan", response_model=PlansView, responses=errors(404, 409))
def post_plan(state: StateDep, body: SpecsBody) -> dict[str, list[Plan]]:
    """What applying these would change, and what would follow; changes nothing."""
    return {"plans": plan(state.store, _read(body), state.pool)}


@router.post("/apply", response_model=AppliedAllView, responses=errors(404, 409))
def post_apply(state: StateDep, body: SpecsBody) -> dict[str, list[Applied]]:
    """Stores all of them or none. Reconcilers do the rest; watch /api/events."""
    return {"applied": apply(state.store, _read(body), state.pool, ACTOR)}


def _read(body: SpecsBody) -> list[Applicable]:
    specs: list[AnySpec] = []
    seen: set[tuple[str, str]] = set()
    for index, value in enumerate(body.specs):
        spec = load_value(value, f"specs[{index}]")
        if (spec.kind, spec.name) in seen:
            raise SpecError(f"specs[{index}]: {spec.kind} {spec.name!r} is written twice", field="name")
        seen.add((spec.kind, spec.name))
        specs.append(spec)
    return applicable(specs)
