"""Every error Roadbed raises on purpose, and how each reaches a person.

    RoadbedError
    ├── UsageError            E_USAGE          400  exit 2   the request itself is wrong
    │   └── SpecError         E_SPEC           400  exit 2   a file the user wrote is wrong (file, line, field)
    ├── NotFoundError         E_NOT_FOUND      404  exit 3
    ├── ConflictError         E_CONFLICT       409  exit 4
    ├── NoCapacityError       E_NO_CAPACITY    503  exit 5
    ├── AuthError             E_AUTH           401  exit 6
    │   └── ForbiddenError    E_FORBIDDEN      403  exit 6
    ├── UnreachableError      E_UNREACHABLE    502  exit 7
    ├── ModelSourceError      E_MODEL_SOURCE   502  exit 1   a model could not be fetched or is not what it should be
    ├── EngineError           E_ENGINE         502  exit 1   an engine would not start or died
    └── RuntimeFailure        E_RUNTIME        500  exit 1   a process could not be run or watched

Each error carries a sentence naming the offending field and a hint that is a command one can run.
The CLI prints `error[CODE]: sentence` and `hint: command`; the control API answers the same as JSON.
"""

from typing import Any, ClassVar


class RoadbedError(Exception):
    """Base of the tree. `message` is for people, `code` for programs, `hint` is a runnable command."""

    code: ClassVar[str] = "E_FAILED"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def to_dict(self) -> dict[str, Any]:
        """The error as the control API sends it: {"error": {code, message, field, hint}}."""
        body = {"code": self.code, "message": self.message, "field": self.field, "hint": self.hint}
        return {"error": body}


class UsageError(RoadbedError):
    """The request itself is wrong."""

    code = "E_USAGE"
    http_status = 400
    exit_code = 2


class SpecError(UsageError):
    """A file the user wrote is wrong; the message starts with file:line where known."""

    code = "E_SPEC"


class NotFoundError(RoadbedError):
    """The named thing does not exist (or is not yours to see)."""

    code = "E_NOT_FOUND"
    http_status = 404
    exit_code = 3


class ConflictError(RoadbedError):
    """The thing exists already, or changed under the caller."""

    code = "E_CONFLICT"
    http_status = 409
    exit_code = 4


class NoCapacityError(RoadbedError):
    """Nothing free hosts it now."""

    code = "E_NO_CAPACITY"
    http_status = 503
    exit_code = 5


class AuthError(RoadbedError):
    """No credential, or one we do not know."""

    code = "E_AUTH"
    http_status = 401
    exit_code = 6


class ForbiddenError(AuthError):
    """A known credential without the right."""

    code = "E_FORBIDDEN"
    http_status = 403


class UnreachableError(RoadbedError):
    """A server we need does not answer."""

    code = "E_UNREACHABLE"
    http_status = 502
    exit_code = 7


class ModelSourceError(RoadbedError):
    """A model could not be fetched, or its bytes are not the promised ones."""

    code = "E_MODEL_SOURCE"
    http_status = 502


class EngineError(RoadbedError):
    """An inference engine would not start, or died; the message is its first real error."""

    code = "E_ENGINE"
    http_status = 502


class RuntimeFailure(RoadbedError):
    """A process could not be run or watched."""

    code = "E_RUNTIME"
