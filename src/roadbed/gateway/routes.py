"""The small routes: models, health, readiness, metrics, version, tokenize. Everything else is a 404 or 405."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from roadbed import __version__
from roadbed.gateway import metrics as metrics_module
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.tokenize import Tokenize

if TYPE_CHECKING:
    from roadbed.gateway.plane import Plane
    from roadbed.gateway.tables import Service
    from roadbed.gateway.wire.server import Handler, Request, ServerConnection

_JSON: Final = b"content-type: application/json\r\n"
_TEXT: Final = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class ModelObject(msgspec.Struct):
    """OpenAI's model object."""

    id: str
    created: int
    owned_by: str = "roadbed"
    object: str = "model"


class AdapterObject(msgspec.Struct):
    """The same of an adapter; `parent` is the model it adapts, as vLLM lists it."""

    id: str
    created: int
    parent: str
    owned_by: str = "roadbed"
    object: str = "model"


class ModelList(msgspec.Struct):
    data: list[ModelObject | AdapterObject]
    object: str = "list"


def handle(plane: "Plane", request: "Request", connection: "ServerConnection") -> "Handler | None":
    """Finds the route of a request. Raises ApiError 404 or 405."""
    path = request.target.partition(b"?")[0]
    method, answer = ROUTES.get(path, (b"", None))
    if path.startswith(b"/v1/models/") and len(path) > 11:
        method, answer = b"GET", _model
    if answer is None:
        shown = path[:200].decode("ascii", "replace")
        raise ApiError(404, "unknown_url", f"Unknown URL: {request.method.decode('ascii', 'replace')} {shown}.")
    if request.method != method and not (method == b"GET" and request.method == b"HEAD"):
        raise ApiError(405, "method_not_allowed", f"Use {method.decode()} for {path.decode('ascii', 'replace')}.")
    return answer(plane, request, connection)


def _models(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    caller = plane.tables.callers.authenticate(request.headers.get(b"authorization"), "inference")
    found = plane.tables.models.items()
    adapters = plane.tables.adapters
    listed = [
        _object(name, service, name in adapters)
        for name, service in found
        if not caller.models or name in caller.models
    ]
    connection.respond(200, _JSON, msgspec.json.encode(ModelList(listed)))


def _model(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    caller = plane.tables.callers.authenticate(request.headers.get(b"authorization"), "inference")
    name = request.target.partition(b"?")[0][11:].decode("utf-8", "replace")
    service = plane.service_for(name, caller)
    connection.respond(200, _JSON, msgspec.json.encode(_object(name, service, name in plane.tables.adapters)))


def _object(name: str, service: "Service", is_adapter: bool) -> ModelObject | AdapterObject:
    if is_adapter:
        return AdapterObject(name, service.entry.created_at, service.canonical)
    return ModelObject(name, service.entry.created_at)


def _health(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    connection.respond(200, _JSON, b'{"status":"ok"}')


def _ready(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    services = plane.tables.services
    ready = {name: service.num_open for name, service in services.items()}
    # A request for a service at zero is held and wakes it: that is an answer, too.
    ok = not plane.draining and any(service.num_open or service.entry.holds for service in services.values())
    body = {"status": "ready" if ok else "not_ready", "replicas": ready, "snapshot": plane.tables.version}
    connection.respond(200 if ok else 503, _JSON, msgspec.json.encode(body))


def _metrics(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    own = plane.run_dir / f"metrics-{plane.worker}.json"
    parts = [metrics_module.load(path) for path in metrics_module.saved_files(plane.run_dir) if path != own]
    connection.respond(200, _TEXT, metrics_module.render(metrics_module.merged([*parts, plane.metrics.numbers()])))


def _version(plane: "Plane", request: "Request", connection: "ServerConnection") -> None:
    connection.respond(200, _JSON, msgspec.json.encode({"version": __version__}))


def _tokenize(plane: "Plane", request: "Request", connection: "ServerConnection") -> "Handler":
    caller = plane.tables.callers.authenticate(request.headers.get(b"authorization"), "inference")
    return Tokenize.start(plane, caller, request, connection)


ROUTES: Final[dict[bytes, tuple[bytes, Callable[["Plane", "Request", "ServerConnection"], "Handler | None"]]]] = {
    b"/v1/models": (b"GET", _models),
    b"/health": (b"GET", _health),
    b"/ready": (b"GET", _ready),
    b"/metrics": (b"GET", _metrics),
    b"/version": (b"GET", _version),
    b"/tokenize": (b"POST", _tokenize),
    b"/v1/chat/completions": (b"POST", lambda *_: None),
    b"/v1/completions": (b"POST", lambda *_: None),
    b"/v1/embeddings": (b"POST", lambda *_: None),
}
"""Path → method and answer. The inference paths are here for their 405; `Plane` answers their POSTs."""
