"""The whole control process over a real socket: API, loops, client, streams; only processes are of the test's world."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI

from roadbed import __version__
from roadbed.control.client import ControlClient, VersionSkew, read_platform
from roadbed.control.main import run
from roadbed.control.store import open_store
from roadbed.errors import (
    AuthError,
    ConflictError,
    NotFoundError,
    RuntimeFailure,
    SpecError,
    UnreachableError,
    UsageError,
)
from roadbed.gateway.snapshot import Snapshot
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec
from tests.control.harness import WorldRuntime

WITHIN_S = 20.0


class _Engine(BaseHTTPRequestHandler):
    """Answers /v1/models like any OpenAI-compatible server."""

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Platform:
    """A control process in a thread."""

    def __init__(self, home: Home, mount: Callable[[FastAPI], None] | None = None) -> None:
        home.create()
        home.config.write_text("gateway: {port: 0}\ncontrol: {port: 0, load_interval: 50ms}\n")
        self.home = home
        self._clock = open_store(None, home.root / "world.db")
        self.runtime = WorldRuntime(self._clock, home.logs)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._mount = mount
        self._thread = threading.Thread(target=self._main)

    def _main(self) -> None:
        runner = asyncio.Runner(loop_factory=lambda: self._loop)
        with runner:
            runner.run(run(self.home, mount=self._mount, runtime=self.runtime, stop=self._stop, signals=False))

    def __enter__(self) -> "Platform":
        (self.home.run / "platform.json").unlink(missing_ok=True)
        self._thread.start()
        self.until((self.home.run / "platform.json").exists)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        self._clock.close()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, "not within the time"
            time.sleep(0.01)

    def on_loop(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_service_from_apply_to_gone(home: Home) -> None:
    with engine() as url, Platform(home) as platform:
        client = ControlClient.find(home)
        assert client.version() == {"version": __version__, "api_level": 1}
        assert client.health() == {"status": "ok"}
        spec = {"kind": "service", "name": "far", "model": "m", "engine": {"kind": "openai", "urls": [url]}}
        assert client.plan([spec])[0]["change"] == "create"
        assert client.apply([spec])[0]["generation"] == 1
        platform.until(lambda: [row["state"] for row in client.replicas("far")] == ["ready"])
        assert client.explain("far")["summary"] == "as wished: 1 of 1 ready"
        platform.until(lambda: client.status()["healthy"])
        assert sorted(platform.runtime.processes) == ["gateway-0"]
        platform.until(lambda: _snapshot(home).services[0].replicas)
        replica = _snapshot(home).services[0].replicas[0]
        assert replica.port == int(url.rsplit(":", 1)[1])
        platform.until(lambda: client.live()["replicas"][0]["reported_at"])
        assert read_platform(home)["gateway_url"] == f"http://127.0.0.1:{_snapshot(home).listen.port}"
        client.delete_service("far")
        platform.until(lambda: client.replicas() == [])
        assert client.services() == []


def test_control_comes_back_to_what_it_left(home: Home) -> None:
    with engine() as url:
        with Platform(home) as platform:
            client = ControlClient.find(home)
            client.apply(
                [{"kind": "service", "name": "far", "model": "m", "engine": {"kind": "openai", "urls": [url]}}]
            )
            made = client.create_key("mine", limits={"concurrency": 2})
            platform.until(lambda: [row["state"] for row in client.replicas()] == ["ready"])
            port = _snapshot(home).listen.port
        with Platform(home) as platform:
            client = ControlClient.find(home)
            platform.until(lambda: client.events(name="far-0")["events"][-1]["code"] == "replica.adopted")
            assert [key["id"] for key in client.api_keys()] == [made["key"]["id"]]
            assert _snapshot(home).listen.port == port
            client.revoke_key(made["key"]["id"])
            platform.until(lambda: _snapshot(home).keys == ())


def test_events_and_logs_stream(home: Home) -> None:
    with Platform(home) as platform:
        client = ControlClient.find(home)
        stream = client.stream_events(noun="tenant")
        client.put_tenant("a")
        assert next(stream)["name"] == "a"
        client.put_tenant("b", {"concurrency": 1})
        assert next(stream)["name"] == "b"
        stream.close()
        platform.until(lambda: "gateway-0" in platform.runtime.processes)
        log = Path(platform.runtime.processes["gateway-0"].log_path)
        assert b"".join(client.logs("gateway-0")) == b"gateway-0 begins\n"
        worker = platform.runtime.processes["gateway-0"]
        platform.runtime.specs["other"] = ProcessSpec(name="other", argv=("x",))
        platform.runtime.processes["other"] = type(worker)(
            name="other", pid=1, state="running", started_at=0.0, log_path=str(log)
        )
        (home.logs / "other.log").write_bytes(b"first\n")
        follow = client.logs("other", follow=True)
        assert next(follow) == b"first\n"
        with log.open("ab") as file:
            file.write(b"more\n")
        assert next(follow) == b"more\n"
        platform.runtime.die("other")
        assert list(follow) == []
        with pytest.raises(NotFoundError, match="no log named nothing"):
            list(client.logs("nothing"))


def test_the_client_raises_what_the_server_raised(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with Platform(home) as platform:
        client = ControlClient.find(home)
        with pytest.raises(SpecError, match="did you mean 'replicas'") as caught:
            client.apply([{"kind": "service", "name": "a", "model": "m", "replica": 1}])
        assert caught.value.hint == "roadbed schema service"
        with pytest.raises(NotFoundError, match="there is no service 'a'"):
            client.service("a")
        with pytest.raises(NotFoundError):
            client.scale("a", 1)
        client.create_key("k")
        with pytest.raises(ConflictError):
            client.delete_tenant("default")
        client.revoke_key(client.api_keys()[0]["id"])
        client.delete_tenant("default")
        assert client.tenants() == []
        with pytest.raises(UsageError):
            client.usage(["nothing"])
        assert client.usage(["day"], since=0)["rows"] == []
        assert client.models()[0]["name"] == "smollm2-135m-instruct"
        with pytest.raises(NotFoundError):
            client.pull_model("nope")
        url = str(read_platform(home)["api_url"])
        with pytest.raises(AuthError, match="the admin token is wrong"):
            ControlClient(url, "nope").services()
        monkeypatch.setenv("ROADBED_URL", url)
        monkeypatch.setenv("ROADBED_TOKEN", home.admin_token.read_text().strip())
        assert ControlClient.find(Home(home.root / "elsewhere")).services() == []
        monkeypatch.setattr("roadbed.control.client.__version__", "9.9.9")
        remote = ControlClient.find(home)
        with pytest.warns(VersionSkew, match=r"client 9\.9\.9.*upgrade the older one"):
            remote.version()
        assert platform.runtime.processes is not None


def test_mounted_routes_are_served_beside_the_api(home: Home) -> None:
    def mount(app: FastAPI) -> None:
        app.get("/hello")(lambda: {"hello": "console"})

    with Platform(home, mount):
        client = ControlClient.find(home)
        assert client._host == "127.0.0.1"
        with socket.create_connection((client._host, client._port), 5.0) as raw:
            raw.sendall(b"GET /hello?any=thing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b""
            while chunk := raw.recv(4096):
                answer += chunk
        assert b'{"hello":"console"}' in answer


def test_a_port_that_is_taken_is_said(home: Home) -> None:
    home.create()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        home.config.write_text(f"control: {{port: {taken.getsockname()[1]}}}\n")
        with pytest.raises(RuntimeFailure, match=r"control\.port: cannot listen on 127\.0\.0\.1"):
            asyncio.run(run(home, stop=asyncio.Event()))


def test_a_wrong_config_is_said(home: Home) -> None:
    home.create()
    home.config.write_text("control: {prt: 1}\n")
    with pytest.raises(SpecError, match="did you mean 'port'"):
        asyncio.run(run(home))


def _snapshot(home: Home) -> Snapshot:
    return msgspec.json.decode(home.snapshot.read_bytes(), type=Snapshot)


def test_nothing_there_is_unreachable_with_a_hint(home: Home) -> None:
    home.create()
    with pytest.raises(UnreachableError, match="no platform runs in") as caught:
        ControlClient.find(home)
    assert caught.value.hint == "roadbed up"
