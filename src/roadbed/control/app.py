"""The control API as an ASGI app: routers, one shape of error, a limit on bodies. Nothing here decides anything."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roadbed import __version__
from roadbed.control.api import apply, events, keys, models, platform, pool, processes, services, tasks, tenants, usage
from roadbed.control.api.strict import RouteTable, StrictQuery
from roadbed.control.state import State
from roadbed.errors import RoadbedError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * 2**20
_ROUTERS = (platform, apply, services, tasks, pool, events, tenants, keys, usage, models, processes)


def create_app(state: State) -> FastAPI:
    """The API over `state`; the caller may mount more beside /api."""
    app = FastAPI(
        title="Roadbed control API",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.roadbed = state
    for module in _ROUTERS:
        app.include_router(module.router, prefix="/api")
    app.add_exception_handler(RoadbedError, _roadbed_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        StrictQuery,
        table=lambda: RouteTable(app.openapi()),
        refuse=lambda error: JSONResponse(error.to_dict(), error.http_status),
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class BodyLimit:
    """Refuses bodies beyond MAX_BODY_BYTES, declared or not, before anyone has read them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        num_bytes = 0
        refused = False

        async def limited() -> Message:
            nonlocal num_bytes, refused
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > MAX_BODY_BYTES:
                refused = True
                return {"type": "http.disconnect"}
            return message

        if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
            await _too_large()(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if not started and refused:
                return
            started = True
            await send(message)

        await self._app(scope, limited, watched)
        if refused and not started:
            await _too_large()(scope, receive, send)


def _body(status: int, code: str, message: str, field: str | None = None, hint: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "field": field, "hint": hint}}, status)


def _too_large() -> JSONResponse:
    return _body(413, "E_USAGE", f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB")


async def _roadbed_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RoadbedError)
    headers = {"www-authenticate": "Bearer"} if error.http_status == 401 else None
    return JSONResponse(error.to_dict(), error.http_status, headers=headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    others = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return _body(400, "E_USAGE", f"{where}: {first['msg']}{others}", where)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "E_NOT_FOUND" if error.status_code == 404 else "E_USAGE"
    response = _body(error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        # The router names the methods of the first route that fits; a path may have several routes.
        methods = RouteTable(request.app.openapi()).methods(request.url.path)
        response.headers["allow"] = ", ".join(methods) or response.headers.get("allow", "")
    return response


async def _fault(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _body(500, "E_FAILED", "a fault of ours; it is in the log of control", hint="roadbed logs control")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document without the 422 it assumes: we answer 400 in our own shape."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
    assert app.openapi_schema is not None
    return app.openapi_schema
