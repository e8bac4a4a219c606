"""What every router shares: the state, the admin token, error bodies, and the shape of names.

Errors are one shape everywhere, `{"error": {code, message, field, hint}}`, and every route documents which it sends.
"""

import hmac
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from roadbed.control.state import State
from roadbed.errors import AuthError

ACTOR = "admin"


class View(BaseModel):
    """Base of answers: read from any object with these attributes."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class ErrorDetail(View):
    code: str = Field(examples=["E_NOT_FOUND"])
    """Stable, for programs."""
    message: str
    """For people; names the offending field."""
    field: str | None
    hint: str | None
    """A command to run."""


class ErrorBody(View):
    error: ErrorDetail


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the errors every route may send, and its own."""
    said = {
        400: "the request is wrong", 401: "no or a wrong admin token", 403: "not allowed", 404: "no such thing",
        409: "it exists already, or changed meanwhile", 413: "the body is too large", 500: "a fault of ours",
        502: "something we need does not answer", 503: "no room",
    }  # fmt: skip
    wanted = {400, 401, 413, 500, 502, 503, *statuses}
    return {status: {"model": ErrorBody, "description": said[status]} for status in sorted(wanted)}


_bearer = HTTPBearer(auto_error=False, description="The admin token, from admin.token in ROADBED_HOME.")


def get_state(request: Request) -> State:
    state: State = request.app.state.roadbed
    return state


def require_admin(
    state: Annotated[State, Depends(get_state)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Raises AuthError unless the bearer token is ours; compared in constant time."""
    if credentials is None:
        raise AuthError("the admin token is missing", hint="export ROADBED_TOKEN=$(cat $ROADBED_HOME/admin.token)")
    if not hmac.compare_digest(credentials.credentials.encode(), state.token.encode()):
        raise AuthError("the admin token is wrong", hint="export ROADBED_TOKEN=$(cat $ROADBED_HOME/admin.token)")


StateDep = Annotated[State, Depends(get_state)]
_NAME = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
NamePath = Annotated[str, Path(pattern=_NAME, description="1-63 of a-z 0-9 . _ -")]
NameQuery = Annotated[str | None, Query(pattern=_NAME)]
MAX_TIME_S = 4_102_444_800.0
"""2100-01-01: later times in a query are mistakes."""
TimeQuery = Annotated[float | None, Query(ge=0, le=MAX_TIME_S, description="Unix seconds")]
