"""A console over the real control process and a gateway that does what a test says."""

import asyncio
import functools
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roadbed.console.app import mount
from roadbed.control.client import ControlClient, read_platform
from roadbed.control.main import run
from roadbed.control.store import open_store
from roadbed.home import Home
from tests.control.harness import WorldRuntime

WITHIN_S = 20.0


class Gateway:
    """Answers POSTs with `script(handler, body)`; what it was asked is in `asked` (authorization, body)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.script: Callable[[BaseHTTPRequestHandler], None] = say_hello
        self.left = threading.Event()
        """Set by scripts that see the console hang up."""
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                gateway.asked.append((self.headers["authorization"], body))
                gateway.script(self)
                self.close_connection = True

            def do_GET(self) -> None:
                whole(self, 200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Gateway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def whole(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    """An answer in one piece."""
    content = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def begin(handler: BaseHTTPRequestHandler) -> None:
    """The head of a streamed answer."""
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.send_header("x-roadbed-replica", "chat-0")
    handler.send_header("x-roadbed-route", "least_cost")
    handler.send_header("x-secret-of-the-gateway", "stays inside")
    handler.end_headers()


def chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


def say_hello(handler: BaseHTTPRequestHandler) -> None:
    begin(handler)
    for word in (b"Hel", b"lo"):
        chunk(handler, b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % word)
    chunk(handler, b"data: [DONE]\n\n")
    chunk(handler, b"")


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Visitor:
    """A browser without a screen: keeps its cookies, follows nothing."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.cookies: dict[str, str] = {}

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=WITHIN_S)
        try:
            response = self.begin(connection, method, path, body, **headers)
            found = {name.lower(): value for name, value in response.getheaders()}
            for name, morsel in SimpleCookie(found.get("set-cookie", "")).items():
                self.cookies[name] = morsel.value
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def begin(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """The response whose body is still to be read."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request(method, path, body, sent)
        return connection.getresponse()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: bytes = b"") -> Answer:
        """As a script of our own page would."""
        return self.ask("POST", path, body, origin=self.origin)

    def chat(self, text: str = "Hi") -> Answer:
        return self.post("/console/chat", chat_body(text))


def chat_body(text: str = "Hi") -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


class Platform:
    """A control process with its console, in a thread; the processes it starts are records."""

    def __init__(self, home: Home, gateway: Gateway) -> None:
        home.create()
        home.config.write_text(f"gateway: {{port: {gateway.port}}}\ncontrol: {{port: 0, load_interval: 50ms}}\n")
        self.home = home
        self._clock = open_store(None, home.root / "world.db")
        self._runtime = WorldRuntime(self._clock, home.logs)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            console = functools.partial(mount, home=self.home)
            runner.run(run(self.home, mount=console, runtime=self._runtime, stop=self._stop, signals=False))

    def __enter__(self) -> "Platform":
        (self.home.run / "platform.json").unlink(missing_ok=True)
        self._thread.start()
        until((self.home.run / "platform.json").exists)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        self._clock.close()

    @property
    def token(self) -> str:
        return self.home.admin_token.read_text().strip()

    def client(self) -> ControlClient:
        return ControlClient(str(read_platform(self.home)["api_url"]), self.token)

    def visitor(self) -> Visitor:
        client = self.client()
        return Visitor(client._host, client._port)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.01)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as made:
        yield made


@pytest.fixture
def platform(tmp_path: Path, gateway: Gateway) -> Iterator[Platform]:
    with Platform(Home(tmp_path / "home"), gateway) as made:
        yield made


@pytest.fixture
def stranger(platform: Platform) -> Visitor:
    """Somebody without a session."""
    return platform.visitor()


@pytest.fixture
def visitor(platform: Platform) -> Visitor:
    """Somebody who has signed in."""
    signed_in = platform.visitor()
    assert signed_in.get(f"/?token={platform.token}").status == 303
    return signed_in
