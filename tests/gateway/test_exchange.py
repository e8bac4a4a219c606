"""One request's life, over real sockets: metering, retries, disconnects, broken streams."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roadbed.gateway.plane import Plane
from roadbed.gateway.snapshot import LimitsEntry
from tests.gateway.rig import (
    CHAT,
    KEY,
    REPLY,
    STREAM_HEAD,
    Engine,
    ask,
    chunked,
    event,
    events,
    gateway,
    plain,
    replies,
    request_bytes,
    snapshot,
    streams,
    until,
)

STREAM = CHAT | {"stream": True}
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
DONE = b"data: [DONE]\n\n"


def test_a_unary_reply_passes_unchanged_and_is_metered(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=CHAT | {"made_up": [1, 2]})
            assert (reply.status, reply.json()) == (200, REPLY)
            assert engine.bodies == [CHAT | {"made_up": [1, 2]}]
            assert reply.headers["x-roadbed-replica"] == "m-0"
            assert reply.headers["x-roadbed-route"]
            assert 0 <= float(reply.headers["x-roadbed-overhead-ms"]) < 100
            [row] = g.rows()
            assert row.request_id == reply.headers["x-request-id"]
            assert (row.outcome, row.status, row.replica, row.num_tries) == ("ok", 200, "m-0", 1)
            assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.estimated) == (7, 2, 3, False)
            assert row.cost_pico == 5 * 100 + 2 * 40 + 3 * 1000
        await engine.stop()

    asyncio.run(scenario())


def test_a_stream_without_usage_is_asked_for_it_and_the_client_never_sees_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b"), event(usage=USAGE), DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=STREAM)
            assert engine.bodies[0]["stream_options"] == {"include_usage": True}
            assert reply.headers["content-type"] == "text/event-stream"
            got = events(reply.body)
            assert [e["choices"][0]["delta"]["content"] for e in got[:-1]] == ["a", "b"]
            assert got[-1] == "[DONE]"
            assert b"usage" not in reply.body
            [row] = g.rows()
            assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (7, 2, False)
            assert 0 < row.ttft_s <= row.total_s
        await engine.stop()

    asyncio.run(scenario())


def test_a_client_that_wants_usage_gets_null_on_each_chunk_and_the_last_one_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b"), event(usage=USAGE), DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=STREAM | {"stream_options": {"include_usage": True}})
            *chunks, last, done = events(reply.body)
            assert [chunk["usage"] for chunk in chunks] == [None, None]
            assert (last["choices"], last["usage"], done) == ([], USAGE, "[DONE]")
        await engine.stop()

    asyncio.run(scenario())


def test_an_engine_without_usage_is_metered_by_counting(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b"), event("c"), DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            await ask(g.port, body=STREAM)
            [row] = g.rows()
            assert (row.completion_tokens, row.estimated, row.outcome) == (3, True, "ok")
            assert row.prompt_tokens > 0
        await engine.stop()

    asyncio.run(scenario())


def test_a_replica_lost_before_its_first_byte_is_replaced(tmp_path: Path) -> None:
    async def hang_up(engine: Engine, body: Any, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def scenario() -> None:
        bad, good = await Engine(hang_up).start(), await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([bad.port, good.port])) as g:
            answers = await asyncio.gather(*(ask(g.port, body=CHAT) for _ in range(8)))
            assert [answer.status for answer in answers] == [200] * 8
            assert {answer.headers["x-roadbed-replica"] for answer in answers} == {"m-1"}
            rows = g.rows()
            assert len(rows) == len({row.request_id for row in rows}) == 8
            assert all(row.outcome == "ok" for row in rows)
            assert max(row.num_tries for row in rows) == 2
        await bad.stop()
        await good.stop()

    asyncio.run(scenario())


def test_an_engine_that_is_loading_is_passed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        loading = await Engine(replies({"error": {"code": 503, "message": "Loading model"}}, 503)).start()
        good = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([loading.port, good.port])) as g:
            for _ in range(3):
                assert (await ask(g.port, body=CHAT)).status == 200
        await loading.stop()
        await good.stop()

    asyncio.run(scenario())


def test_with_nobody_left_the_client_hears_503_and_when_to_come_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(replies()).start()
        port = engine.port
        await engine.stop()
        async with gateway(tmp_path, snapshot([port])) as g:
            reply = await ask(g.port, body=CHAT)
            assert reply.status == 503
            assert reply.error["code"] == "no_replica"
            assert int(reply.headers["retry-after"]) >= 1
            [row] = g.rows()
            assert (row.outcome, row.prompt_tokens, row.cost_pico) == ("shed", 0, 0)

    asyncio.run(scenario())


def test_a_stream_that_breaks_ends_with_an_error_event_and_is_billed_for_what_came(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b"), end=False)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=STREAM)
            *chunks, last = events(reply.body)
            assert len(chunks) == 2
            assert last["error"]["code"] == "engine_error"
            [row] = g.rows()
            assert (row.outcome, row.completion_tokens, row.estimated) == ("engine_error", 2, True)
        await engine.stop()

    asyncio.run(scenario())


def test_a_stream_cut_inside_an_event_still_ends_well_formed(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"), event("b")[:20], end=False)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=STREAM)
            parts = reply.body.split(b"\n\n")
            assert parts[-1] == b""
            assert b'"error"' in parts[-2]
            assert parts[-2].startswith(b"data: {")
        await engine.stop()

    asyncio.run(scenario())


def test_a_stream_that_stops_without_done_is_an_engine_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(event("a"))).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=STREAM)
            assert events(reply.body)[-1]["error"]["message"] == "The engine ended its stream early."
        await engine.stop()

    asyncio.run(scenario())


def test_a_client_that_leaves_stops_the_engine_and_is_billed(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(*[event("x")] * 500, pause_s=0.01)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request_bytes("/v1/chat/completions", STREAM))
            await reader.readuntil(b"data: ")
            writer.close()
            await until(lambda: engine.num_gone == 1)
            await until(lambda: len(g.rows()) == 1)
            [row] = g.rows()
            assert row.outcome == "client_gone"
            assert 1 <= row.completion_tokens < 500
            assert g.worker.account.totals(0).in_flight == 0
        await engine.stop()

    asyncio.run(scenario())


def test_a_client_that_leaves_while_waiting_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(*[event("x")] * 50, DONE, pause_s=0.01)).start()
        first = snapshot([engine.port], replica={"max_concurrency": 1}, max_wait_s=20.0)
        async with gateway(tmp_path, first) as g:
            busy = [asyncio.ensure_future(ask(g.port, body=STREAM)) for _ in range(2)]
            await until(lambda: len(engine.bodies) == 2)
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request_bytes("/v1/chat/completions", STREAM))
            await until(lambda: len(g.worker.plane.exchanges) == 3)
            writer.close()
            await until(lambda: len(g.worker.plane.exchanges) == 2)
            assert [reply.status for reply in await asyncio.gather(*busy)] == [200, 200]
            assert len(engine.bodies) == 2
            assert sorted(row.outcome for row in g.rows()) == ["client_gone", "ok", "ok"]
        await engine.stop()

    asyncio.run(scenario())


def test_a_waiting_request_is_sent_when_a_place_is_free_and_shed_when_it_waited_too_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(*[event("x")] * 20, DONE, pause_s=0.01)).start()
        first = snapshot([engine.port], replica={"max_concurrency": 1}, max_wait_s=0.3, max_queue=5)
        async with gateway(tmp_path, first) as g:
            answers = await asyncio.gather(*(ask(g.port, body=STREAM) for _ in range(10)))
            statuses = sorted(answer.status for answer in answers)
            assert statuses.count(200) >= 2
            assert set(statuses) == {200, 429}
            refused = next(answer for answer in answers if answer.status == 429)
            assert refused.error["code"] == "model_overloaded"
            assert int(refused.headers["retry-after"]) >= 1
            assert len(g.rows()) == 10
        await engine.stop()

    asyncio.run(scenario())


def test_a_slow_reader_holds_the_engine_back_instead_of_filling_memory(tmp_path: Path) -> None:
    sent = 0

    async def flood(engine: Engine, body: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        piece = chunked(event("y" * 10_000))
        for _ in range(6000):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
        writer.write(chunked(DONE) + b"0\r\n\r\n")

    async def scenario() -> None:
        engine = await Engine(flood).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port, limit=1024)
            writer.write(request_bytes("/v1/chat/completions", STREAM))
            await reader.readuntil(b"\r\n\r\n")
            before = -1
            while before != sent:  # until the flood has come to rest
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 30_000_000
            total = 0
            while not (data := await reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
                total += len(data)
            assert total > 60_000_000
            writer.close()
        await engine.stop()

    asyncio.run(scenario())


def test_an_engines_own_error_is_put_in_openais_shape(tmp_path: Path) -> None:
    body = {
        "error": {
            "code": 400,
            "message": "request (99 tokens) exceeds the available context size",
            "type": "exceed_context_size_error",
        }
    }

    async def scenario() -> None:
        engine = await Engine(replies(body, 400)).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            reply = await ask(g.port, body=CHAT)
            assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
            [row] = g.rows()
            assert (row.outcome, row.completion_tokens) == ("upstream_error", 0)
        await engine.stop()

    asyncio.run(scenario())


def test_an_engine_that_talks_nonsense_is_an_error_not_a_hang(tmp_path: Path) -> None:
    async def nonsense(engine: Engine, body: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()

    async def scenario() -> None:
        engine = await Engine(nonsense).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            assert (await ask(g.port, body=CHAT)).status == 503
        await engine.stop()

    asyncio.run(scenario())


def test_a_stale_idle_connection_is_replaced_without_counting_as_a_failure(tmp_path: Path) -> None:
    async def once(engine: Engine, body: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(200, REPLY))
        await writer.drain()
        writer.close()  # without announcing it

    async def scenario() -> None:
        engine = await Engine(once).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            for _ in range(5):
                reply = await ask(g.port, body=CHAT)
                assert reply.status == 200
            assert all(row.num_tries == 1 for row in g.rows())
        await engine.stop()

    asyncio.run(scenario())


def test_the_models_name_is_rewritten_where_the_engine_calls_it_otherwise(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(replies()).start()
        first = snapshot([engine.port], replica={"upstream_model": "real-name", "api_key": "sk-up", "base_path": "/x"})
        async with gateway(tmp_path, first) as g:
            assert (await ask(g.port, body=CHAT | {"model": "m-alias"})).status == 200
            assert engine.bodies[0] == CHAT | {"model": "real-name"}
            assert engine.heads[0].startswith(b"POST /x/v1/chat/completions ")
            assert b"authorization: Bearer sk-up" in engine.heads[0]
            assert KEY.encode() not in engine.heads[0]
        await engine.stop()

    asyncio.run(scenario())


WATCHES_STREAMS = {"capabilities": ("chat", "completions", "stops_streams_only")}


def test_an_engine_that_only_watches_streams_is_asked_for_one_and_the_client_gets_it_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        usage = event(usage=USAGE)
        engine = await Engine(streams(event("Hel"), event("lo"), usage, DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port], replica=WATCHES_STREAMS)) as g:
            reply = await ask(g.port, body=CHAT)
            assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
            assert reply.json()["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
            assert (reply.json()["object"], reply.json()["usage"]) == ("chat.completion", USAGE)
            assert engine.bodies == [CHAT | {"stream": True, "stream_options": {"include_usage": True}}]
            [row] = g.rows()
            assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.estimated) == ("ok", 7, 2, False)
        await engine.stop()

    asyncio.run(scenario())


def test_a_client_that_leaves_a_whole_answer_stops_such_an_engine_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine(streams(*[event("x")] * 500, pause_s=0.01)).start()
        async with gateway(tmp_path, snapshot([engine.port], replica=WATCHES_STREAMS)) as g:
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request_bytes("/v1/chat/completions", CHAT))
            await until(
                lambda: any(e._whole is not None and e._whole.num_events > 2 for e in g.worker.plane.exchanges.values())
            )
            writer.close()
            await until(lambda: engine.num_gone == 1)
            await until(lambda: len(g.rows()) == 1)
            [row] = g.rows()
            assert (row.outcome, row.estimated) == ("client_gone", True)
            assert 2 < row.completion_tokens < 500
        await engine.stop()

    asyncio.run(scenario())


def test_such_an_engines_errors_are_errors(tmp_path: Path) -> None:
    async def scenario() -> None:
        broken = b'data: {"error":{"code":500,"message":"out of luck","type":"server_error"}}\n\n'
        for answer, status, words in (
            (streams(event("x"), broken), 500, "out of luck"),
            (streams(event("x"), b"data: {\n\n"), 502, "no chunk"),
            (streams(event("x")), 502, "early"),
            (
                replies({"error": {"message": "no such thing", "type": "invalid_request_error"}}, 400),
                400,
                "no such thing",
            ),
        ):
            engine = await Engine(answer).start()
            async with gateway(
                tmp_path / words.replace(" ", "-"), snapshot([engine.port], replica=WATCHES_STREAMS)
            ) as g:
                reply = await ask(g.port, body=CHAT)
                assert (reply.status, words in reply.error["message"]) == (status, True), reply.body
                assert len(g.rows()) == 1
            await engine.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("replica", [{}, WATCHES_STREAMS])
def test_tokens_of_all_choices_are_accounted_for(tmp_path: Path, replica: dict[str, Any]) -> None:
    """llama.cpp reports each choice in a usage event of its own."""

    def words(index: int) -> bytes:
        choice = {"index": index, "delta": {"content": "x"}, "finish_reason": None}
        return event(choices=[choice])

    async def scenario() -> None:
        reports = event(usage=USAGE), event(usage=USAGE | {"completion_tokens": 6})
        engine = await Engine(streams(*[words(i % 2) for i in range(8)], *reports, DONE)).start()
        async with gateway(tmp_path, snapshot([engine.port], replica=replica)) as g:
            await ask(g.port, body=CHAT | {"n": 2} | ({} if replica else {"stream": True}))
            [row] = g.rows()
            assert (row.completion_tokens, row.prompt_tokens) == (8, 7)
        await engine.stop()

    asyncio.run(scenario())


def _no_way_to_send(plane: Plane) -> None:
    plane.tables.services["m"].replicas.clear()


def _an_id_used_twice(plane: Plane) -> None:
    plane.tables.services["m"].router._live[f"req_{plane._boot}{plane._count + 1}"] = None  # type: ignore[assignment]


@pytest.mark.parametrize("break_it", [_no_way_to_send, _an_id_used_twice])
def test_what_breaks_on_the_way_to_the_engine_is_answered_and_settled(
    tmp_path: Path, break_it: Callable[[Plane], None]
) -> None:
    """Invariant 1 holds whatever we did wrong: no reservation, no account and no ledger record stays open."""

    async def scenario() -> None:
        engine = await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([engine.port], limits=LimitsEntry(concurrency=1))) as g:
            for _ in range(2):  # a reservation left behind would refuse the second
                break_it(g.worker.plane)
                reply = await ask(g.port, body=CHAT)
                assert (reply.status, reply.error["code"]) == (500, "internal_error")
            assert [(row.outcome, row.status) for row in g.rows()] == [("engine_error", 500)] * 2
            assert g.worker.account.totals(0).in_flight == 0
            assert g.worker.account.concurrency(1) == 0
        await engine.stop()

    asyncio.run(scenario())


def test_what_breaks_on_the_way_back_is_answered_and_settled(tmp_path: Path) -> None:
    async def scenario() -> None:
        go_on = asyncio.Event()

        async def answer(_: Engine, __: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            writer.write(plain(200, REPLY))

        engine = await Engine(answer).start()
        async with gateway(tmp_path, snapshot([engine.port], limits=LimitsEntry(concurrency=1))) as g:
            asking = asyncio.ensure_future(ask(g.port, body=CHAT))
            await until(lambda: engine.bodies)
            [exchange] = g.worker.plane.exchanges.values()
            exchange._body.append(None)  # type: ignore[arg-type]
            go_on.set()
            reply = await asking
            assert (reply.status, reply.error["code"]) == (500, "internal_error")
            assert [(row.outcome, row.status) for row in g.rows()] == [("engine_error", 500)]
            assert g.worker.account.concurrency(1) == 0
            assert (await ask(g.port, body=CHAT)).status == 200
        await engine.stop()

    asyncio.run(scenario())
