"""The process around the plane: TLS, drain, reload, restart, and a start without a control plane.

`localhost.crt` and its key are good for a hundred years and for nothing else.
"""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roadbed.gateway.snapshot import ListenEntry, Snapshot
from roadbed.gateway.worker import SnapshotFile, Worker, main
from roadbed.home import Home
from tests.gateway.rig import (
    CHAT,
    REPLY,
    Engine,
    ask,
    event,
    events,
    gateway,
    read_response,
    replies,
    request_bytes,
    snapshot,
    streams,
    until,
)

HERE = Path(__file__).parent
DONE = b"data: [DONE]\n\n"
TLS = {"tls_cert": str(HERE / "localhost.crt"), "tls_key": str(HERE / "localhost.key")}


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=TLS["tls_cert"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_tls_is_terminated_and_plain_http_is_not_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b"), DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port], listen=ListenEntry(port=0, **TLS))) as g:
            reader, writer = await asyncio.open_connection("localhost", g.port, ssl=trusting(), family=2)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            for _ in range(2):  # kept alive
                writer.write(request_bytes("/v1/chat/completions", CHAT | {"stream": True}))
                reply = await read_response(reader)
                assert reply.status == 200
                assert events(reply.body)[-1] == "[DONE]"
            writer.close()
            await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request_bytes("/v1/chat/completions", CHAT))
            assert not (await reader.read()).startswith(b"HTTP"), "an alert at most"
            writer.close()
            assert len(engine.bodies) == 2
        await engine.stop()

    asyncio.run(scenario())


def test_a_large_body_and_a_client_that_leaves_over_tls(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(*[event("x")] * 500, pause_s=0.01)).start()
        async with gateway(tmp_path, snapshot([engine.port], listen=ListenEntry(port=0, **TLS))) as g:
            reader, writer = await asyncio.open_connection("localhost", g.port, ssl=trusting(), family=2)
            long = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 30_000}]}
            writer.write(request_bytes("/v1/chat/completions", long))
            await reader.readuntil(b"data: ")
            assert len(engine.bodies[0]["messages"][0]["content"]) == 30_000
            writer.transport.abort()
            await until(lambda: engine.num_gone == 1)
            await until(lambda: [row.outcome for row in g.rows()] == ["client_gone"])
        await engine.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["absent.key", "test_worker.py"])
def test_a_wrong_certificate_stops_the_start(tmp_path: Path, key: str) -> None:
    async def scenario() -> None:
        home = Home(tmp_path)
        home.create()
        listen = ListenEntry(port=0, tls_cert=TLS["tls_cert"], tls_key=str(HERE / key))
        worker = Worker(home, 0, asyncio.get_running_loop(), Snapshot(version=1, listen=listen))
        try:
            with pytest.raises(OSError):  # ssl.SSLError is one
                await worker.run()
        finally:
            worker.close()

    asyncio.run(scenario())


def test_a_drain_lets_answers_finish_closes_the_idle_and_then_drops_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        quick = streams(*[event("x")] * 10, DONE, pause_s=0.01)
        listen = ListenEntry(port=0, drain_timeout_s=0.6)
        engine = await Engine(quick).start()
        endless = await Engine(streams(*[event("x")] * 1000, pause_s=0.01)).start()
        async with gateway(tmp_path, snapshot([engine.port, endless.port], listen=listen)) as g:
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", g.port)
            first = asyncio.ensure_future(ask(g.port, body=CHAT | {"stream": True}))
            await until(lambda: engine.bodies)
            second, second_writer = await asyncio.open_connection("127.0.0.1", g.port)
            second_writer.write(request_bytes("/v1/chat/completions", CHAT | {"stream": True}))
            await second.readuntil(b"data: ")
            g.worker.stop()
            assert await asyncio.wait_for(idle.read(), 5) == b"", "an idle connection is closed at once"
            assert events((await first).body)[-1] == "[DONE]"
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", g.port)
            await asyncio.wait_for(second.read(), 5)
            await until(lambda: sorted(row.outcome for row in g.rows()) == ["client_gone", "ok"])
            idle_writer.close()
            second_writer.close()
        await engine.stop()
        await endless.stop()

    asyncio.run(scenario())


def test_a_new_snapshot_is_taken_over_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        engine = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            tables = g.worker.plane.tables
            g.publish(snapshot([engine.port], policy="least_load"))
            await until(lambda: tables.version == 2)
            assert tables.services["m"].entry.policy == "least_load"
            g.home.snapshot.write_bytes(b"{")
            await until(lambda: "cannot read" in caplog.text)
            assert (tables.version, (await ask(g.port, body=CHAT)).status) == (2, 200)
            g.home.snapshot.unlink()
            assert (await ask(g.port, body=CHAT)).json() == REPLY
            g.publish(snapshot([engine.port]))
            await until(lambda: tables.version == 3)
        await engine.stop()

    asyncio.run(scenario())


def test_a_snapshot_is_read_once_per_change(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    file = SnapshotFile(path)
    assert file.changed() is None
    path.write_bytes(msgspec.json.encode(Snapshot(version=4)))
    assert file.changed() == Snapshot(version=4)
    assert file.changed() is None


def test_metrics_go_on_after_a_restart(tmp_path: Path) -> None:
    async def scenario(number: int) -> None:
        engine = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            await ask(g.port, body=CHAT)
            text = (await ask(g.port, "/metrics", method="GET", key=None)).body.decode()
            assert f'roadbed_outcomes_total{{service="m",outcome="ok"}} {number}\n' in text
        await engine.stop()

    for number in (1, 2):
        asyncio.run(scenario(number))


def test_without_a_control_plane_the_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadbed.gateway.worker._first_snapshot.__defaults__", (0.0,))
    assert main(["--home", str(tmp_path), "--index", "0"]) == 1


def test_the_process_serves_until_sigterm(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.snapshot.write_bytes(msgspec.json.encode(Snapshot(version=1, listen=ListenEntry(port=0))))
    argv = [sys.executable, "-m", "roadbed.gateway.worker", "--home", str(tmp_path), "--index", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = int(line.rpartition(",")[0].rpartition(":")[2])

        async def health() -> Any:
            return json.loads((await ask(port, "/health", method="GET", key=None)).body)

        assert asyncio.run(health()) == {"status": "ok"}
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
        assert "draining 0 requests" in process.stderr.read()
