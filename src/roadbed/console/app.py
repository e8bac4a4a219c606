"""The console's routes: sign in, one page, its parts every second, and the chat's stream.

The page is rendered on the server, and so are its updates: the browser asks once a second for the same fragments and
patches what differs. One template per part then serves the first paint, every update, and browsers without scripts.
"""

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, FastAPI, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from roadbed import __version__
from roadbed.console import view
from roadbed.console.assets import Assets
from roadbed.console.chat import Chat
from roadbed.console.pool import pool_view
from roadbed.console.reader import Reader, Reading
from roadbed.console.security import SecurityHeaders
from roadbed.console.session import LIFETIME_S, Sessions, same_origin
from roadbed.console.task import read_task
from roadbed.errors import AuthError, RoadbedError
from roadbed.home import Home, find_home

FRAGMENTS = ("overview", "services", "tasks", "pool", "quotas", "routes", "outcomes", "events")
MAX_FORM_BYTES = 4096


def mount(app: FastAPI, home: Home | None = None) -> None:
    """Adds the console to the control API; `home` is ROADBED_HOME unless given. Raises AuthError without a token."""
    console = Console(find_home() if home is None else home)
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", console.page, methods=["GET"], response_model=None)
    router.add_api_route("/console/sign-in", console.sign_in, methods=["POST"], response_model=None)
    router.add_api_route("/console/sign-out", console.sign_out, methods=["POST"], response_model=None)
    router.add_api_route("/console/live", console.live, methods=["GET"], response_model=None)
    router.add_api_route("/console/tasks/{name}", console.task, methods=["GET"], response_model=None)
    router.add_api_route("/console/chat", console.chat, methods=["POST"], response_model=None)
    router.add_api_route("/console/static/{digest}/{name}", console.static, methods=["GET"], response_model=None)
    app.include_router(router)
    app.add_middleware(SecurityHeaders)


class Console:
    """The handlers and what they share."""

    def __init__(self, home: Home) -> None:
        token = _read_token(home)
        self._home = home
        self._sessions = Sessions(token)
        self._reader = Reader(home, token)
        self._chat = Chat(self._reader)
        self._assets = Assets()
        self._templates = _templates(self._assets)

    async def page(self, request: Request) -> Response:
        """The page; with `?token=` a session and a redirect, so that the token leaves the address bar."""
        token = request.query_params.get("token")
        if token is not None:
            return self._enter(request, token)
        if not self._has_session(request):
            return self._ask(request)
        reading = await self._reader.read()
        return HTMLResponse(self._render("page", reading, models=view.models_of(reading)))

    async def sign_in(self, request: Request) -> Response:
        """Trades the admin token for a session cookie; 403 for a wrong one or another origin."""
        if not same_origin(request.headers):
            return _refused()
        content = bytearray()
        async for piece in request.stream():
            content += piece
            if len(content) > MAX_FORM_BYTES:
                return self._ask(request, wrong=True)
        given = parse_qs(content.decode("latin-1")).get("token", [""])[0]
        return self._enter(request, given)

    async def sign_out(self, request: Request) -> Response:
        if not same_origin(request.headers):
            return _refused()
        response = RedirectResponse("/", 303)
        response.delete_cookie(self._sessions.cookie, httponly=True, samesite="strict")
        return response

    async def live(self, request: Request, after: float = 0.0) -> Response:
        """The page's parts as HTML and the charts' points since `after`."""
        if not self._has_session(request):
            return _signed_out()
        reading = await self._reader.read()
        answer: dict[str, Any] = {
            "build": self._assets.digest,
            "error": reading.error,
            "fragments": {name: self._render(f"_{name}", reading) for name in FRAGMENTS},
            "models": view.models_of(reading),
            "points": self._reader.points(after),
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def task(self, request: Request, name: str) -> Response:
        """The page of one task; 404 where there is none, 502 while control does not answer."""
        if not self._has_session(request):
            return self._ask(request)
        try:
            client = self._reader.client()
            found = await asyncio.to_thread(read_task, client, name, time.time())
        except RoadbedError as error:
            return HTMLResponse(self._templates.get_template("error.html").render(error=error), error.http_status)
        fields = {field: getattr(found, field) for field in found.__struct_fields__}
        return HTMLResponse(self._templates.get_template("task.html").render(page=found, **fields))

    async def chat(self, request: Request) -> Response:
        if not self._has_session(request):
            return _signed_out()
        if not same_origin(request.headers):
            return _refused()
        return await self._chat.answer(request)

    async def static(self, digest: str, name: str) -> Response:
        return self._assets.response(digest, name)

    def _has_session(self, request: Request) -> bool:
        return self._sessions.valid(request.cookies.get(self._sessions.cookie))

    def _enter(self, request: Request, token: str) -> Response:
        if not self._sessions.accepts(token):
            return self._ask(request, wrong=True)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            self._sessions.cookie,
            self._sessions.issue(),
            max_age=LIFETIME_S,
            path="/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _ask(self, request: Request, *, wrong: bool = False) -> Response:
        # Where the token is, is told to this machine only.
        local = request.client is not None and request.client.host in ("127.0.0.1", "::1")
        path = str(self._home.admin_token) if local else "$ROADBED_HOME/admin.token"
        return HTMLResponse(self._templates.get_template("sign_in.html").render(wrong=wrong, path=path), 401)

    def _render(self, name: str, reading: Reading, **more: Any) -> str:
        now = reading.live["at"] if reading.live is not None else 0.0
        pool = pool_view(reading.pool, now)
        return self._templates.get_template(f"{name}.html").render(page=view.page_view(reading), pool=pool, **more)


def _read_token(home: Home) -> str:
    try:
        token = home.admin_token.read_text("utf-8").strip()
    except OSError as error:
        raise AuthError(f"{home.admin_token} cannot be read: {error.strerror}", hint="roadbed up") from error
    if not token:
        raise AuthError(f"{home.admin_token} is empty", hint=f"rm {home.admin_token} && roadbed up")
    return token


def _templates(assets: Assets) -> Environment:
    environment = Environment(
        loader=PackageLoader("roadbed.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(asset=assets.url, build=assets.digest, version=__version__)
    environment.filters.update(number=view.number, seconds=view.seconds, percent=view.percent)
    return environment


def _signed_out() -> Response:
    return JSONResponse({"error": {"message": "the session has ended; sign in again", "code": "E_AUTH"}}, 401)


def _refused() -> Response:
    error = {"message": "this must come from a page of this console", "code": "E_FORBIDDEN"}
    return JSONResponse({"error": error}, 403)
