"""/api/models: what is here, and fetching more in the background."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.api.common import StateDep, View, errors, require_admin
from roadbed.models import catalogue

router = APIRouter(tags=["models"], dependencies=[Depends(require_admin)])


class ModelView(View):
    name: str
    source: str
    state: str
    """absent, pulling, present or failed."""
    size_bytes: int | None
    digest: str | None
    license: str | None
    num_parameters: int | None
    done_bytes: int
    error: str


class ModelsView(View):
    models: list[ModelView]


class PullBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f]+$")]
    """A catalogue name or a source."""


class PullView(View):
    model: str
    state: str
    message: str


@router.get("/models", response_model=ModelsView, responses=errors())
def get_models(state: StateDep) -> dict[str, Any]:
    """The catalogue and what else is here."""
    return {"models": state.models.list_models()}


@router.post("/models/pull", response_model=PullView, status_code=202, responses=errors(404))
def post_pull(state: StateDep, body: PullBody) -> dict[str, Any]:
    """Begins fetching unless it is here or under way; its progress is in /api/models, its end in /api/events."""
    catalogue.resolve(body.model)
    if state.models.fact(body.model).state != "present":
        state.models.start_pull(body.model)
    fact = state.models.fact(body.model)
    return {"model": body.model, "state": fact.state, "message": fact.message}
