"""The real engine with the real default model, run by the real agent."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from roadbed.engine import create
from roadbed.engine.base import Capacity, Endpoint, EngineAdapter, LaunchRequest
from roadbed.engine.http import get, post
from roadbed.errors import EngineError
from roadbed.home import Home
from roadbed.runtime.local.client import LocalRuntime, SyncAgent, start_agent
from roadbed.spec.service import Adapter, LlamaCppEngine
from tests.engine.conftest import reply, serve
from tests.engine.lora_file import write_lora

SPEC = LlamaCppEngine(context_tokens=1024, parallel=2)
REQUEST = LaunchRequest(
    replica="r-0",
    served_model="smol",
    model_path="/m.gguf",
    port=8100,
    threads=1,
    memory_bytes=2**30,
    labels={"a": "b"},
)
CHAT = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 8, "temperature": 0}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRuntime]:
    home = Home(tmp_path_factory.mktemp("home"))
    start_agent(home, [])
    yield LocalRuntime(home)
    SyncAgent(home).shutdown()


@asynccontextmanager
async def replica(
    runtime: LocalRuntime, model: Path, spec: LlamaCppEngine = SPEC
) -> AsyncIterator[tuple[EngineAdapter, Endpoint, Capacity]]:
    adapter = create(spec)
    request = msgspec.structs.replace(REQUEST, model_path=str(model), port=free_port())
    process = adapter.process(request)
    assert process is not None
    endpoint = adapter.endpoint(0, request.port)
    await runtime.start(process)
    try:
        while (capacity := await adapter.ready(endpoint)) is None:
            (status,) = [s for s in await runtime.list() if s.name == REQUEST.replica]
            assert status.state == "running", (await runtime.log_tail(REQUEST.replica)).decode()
            await asyncio.sleep(0.02)
        yield adapter, endpoint, capacity
    finally:
        status = await runtime.stop(REQUEST.replica)
        assert status.exit_code == 0, status


def test_the_process_never_takes_more_threads_than_given() -> None:
    spec = create(SPEC).process(REQUEST)
    assert spec is not None
    assert spec.env["OMP_NUM_THREADS"] == "1"
    assert spec.argv[spec.argv.index("--threads") + 1] == "1"
    assert spec.labels == {"a": "b"}
    own = create(LlamaCppEngine(threads=3)).process(REQUEST)
    assert own is not None
    assert own.env["OMP_NUM_THREADS"] == "3"
    assert (spec.limits.memory_bytes or 0) > REQUEST.memory_bytes
    unlimited = create(SPEC).process(msgspec.structs.replace(REQUEST, memory_bytes=0))
    assert unlimited is not None
    assert unlimited.limits.memory_bytes is None


def test_loading_is_not_ready_and_a_stranger_is_an_error() -> None:
    adapter = create(SPEC)
    assert serve({"/health": reply("loading", 503)}, adapter.ready) is None
    assert asyncio.run(adapter.ready(Endpoint(host="127.0.0.1", port=1))) is None
    with pytest.raises(EngineError, match=r"is not a llama\.cpp server"):
        serve({"/health": reply("ok")}, adapter.ready)
    assert asyncio.run(adapter.drain(Endpoint(host="127.0.0.1", port=1))) is True


@pytest.mark.e2e
def test_chat_cache_schema_and_load(runtime: LocalRuntime, smollm: Path) -> None:
    async def use() -> None:
        async with replica(runtime, smollm) as (adapter, endpoint, capacity):
            assert (capacity.max_concurrency, capacity.context_tokens, capacity.kv_tokens) == (2, 1024, 2048)
            assert {"chat", "completions", "json_schema", "tokenize"} <= set(capacity.capabilities)
            first = json.loads((await post(endpoint, "/v1/chat/completions", CHAT, timeout_s=60)).body)
            again = json.loads((await post(endpoint, "/v1/chat/completions", CHAT, timeout_s=60)).body)
            assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
            assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == first["usage"]["prompt_tokens"] - 1
            assert again["choices"][0]["message"]["content"] == first["choices"][0]["message"]["content"]
            schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
            wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            shaped = await post(
                endpoint, "/v1/chat/completions", {**CHAT, "max_tokens": 40, "response_format": wanted}, timeout_s=60
            )
            assert json.loads(json.loads(shaped.body)["choices"][0]["message"]["content"])["n"] in (1, 2)
            report = await adapter.load(endpoint)
            assert (report.num_running, report.num_waiting) == (0, 0)
            assert (report.num_tokens_total or 0) >= 16
            assert await adapter.drain(endpoint)

    asyncio.run(use())


@pytest.mark.e2e
def test_conversations_that_share_a_prompt_keep_their_histories(runtime: LocalRuntime, smollm: Path) -> None:
    """More conversations than slots: a slot's prompt is kept in host memory when another takes the slot."""
    shared = {"role": "system", "content": "You are a helpful assistant who answers in one word. " * 6}

    async def use() -> None:
        async with replica(runtime, smollm) as (_, endpoint, capacity):
            assert "stops_streams_only" in capacity.capabilities
            talks = [
                [
                    shared,
                    {
                        "role": "user",
                        "content": f"{x} is a letter. Name a thing that begins with it and be quick about it.",
                    },
                ]
                for x in "ABCD"
            ]
            lengths = []
            for talk in talks:
                told = json.loads(
                    (await post(endpoint, "/v1/chat/completions", CHAT | {"messages": talk}, timeout_s=60)).body
                )
                lengths.append(told["usage"]["prompt_tokens"])
                talk += [told["choices"][0]["message"], {"role": "user", "content": "And another?"}]
            for talk, length in zip(talks[2:], lengths[2:], strict=True):
                told = json.loads(
                    (await post(endpoint, "/v1/chat/completions", CHAT | {"messages": talk}, timeout_s=60)).body
                )
                assert told["usage"]["prompt_tokens_details"]["cached_tokens"] >= length - 8
            report = await get(endpoint, "/slots")
            assert len(json.loads(report.body)) == capacity.max_concurrency < len(talks)

    asyncio.run(use())


@pytest.mark.e2e
def test_a_client_that_leaves_a_stream_frees_the_slot_and_sigterm_is_quick(runtime: LocalRuntime, smollm: Path) -> None:
    async def use() -> None:
        async with replica(runtime, smollm) as (adapter, endpoint, _):
            body = json.dumps({**CHAT, "stream": True, "max_tokens": 900, "ignore_eos": True}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(head + body)
            while b'"content":"' not in await reader.readline():
                pass
            report = await adapter.load(endpoint)
            assert report.num_running == 1
            assert 0 < report.kv_usage < 1
            assert not await adapter.drain(endpoint)
            writer.close()
            await writer.wait_closed()
            async with asyncio.timeout(5):  # the whole answer would take more than twice as long
                while not await adapter.drain(endpoint):
                    await asyncio.sleep(0.02)
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(head + body)
            while not (await adapter.load(endpoint)).num_running:
                await asyncio.sleep(0.02)
            began = time.monotonic()
            await runtime.stop(REQUEST.replica)
            assert time.monotonic() - began < 2
            writer.close()

    asyncio.run(use())


@pytest.mark.e2e
def test_idle_connections_of_a_gateway_do_not_starve_others(runtime: LocalRuntime, smollm: Path) -> None:
    async def use() -> None:
        async with replica(runtime, smollm) as (_, endpoint, capacity):
            idle = []
            for _ in range(2 * (capacity.max_concurrency + 8)):
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                idle.append(writer)
            assert (await get(endpoint, "/health", timeout_s=2)).status == 200
            for writer in idle:
                writer.close()

    asyncio.run(use())


@pytest.mark.e2e
def test_embeddings(runtime: LocalRuntime, smollm: Path) -> None:
    async def use() -> None:
        spec = LlamaCppEngine(context_tokens=512, parallel=2, embeddings=True)
        async with replica(runtime, smollm, spec) as (_, endpoint, capacity):
            assert capacity.capabilities == ("tokenize", "embeddings")
            body = {"model": "smol", "input": ["red", "hello " * 300]}
            answer = json.loads((await post(endpoint, "/v1/embeddings", body, timeout_s=60)).body)
            assert [len(item["embedding"]) for item in answer["data"]] == [576, 576]
            assert answer["usage"]["prompt_tokens"] > 300

    asyncio.run(use())


@pytest.mark.e2e
def test_a_truncated_model_is_explained(runtime: LocalRuntime, smollm: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    with smollm.open("rb") as file:
        broken.write_bytes(file.read(4_000_000))

    async def use() -> None:
        adapter = create(SPEC)
        process = adapter.process(msgspec.structs.replace(REQUEST, model_path=str(broken), port=free_port()))
        assert process is not None
        await runtime.start(process)
        while (status := (await runtime.list())[0]).state != "exited":
            await asyncio.sleep(0.02)
        tail = (await runtime.log_tail(REQUEST.replica)).decode()
        failure = adapter.explain_exit(tail, status.exit_code, status.signal)
        assert failure.reason == "model"
        assert "not within the file bounds" in failure.message

    asyncio.run(use())


@pytest.mark.e2e
def test_an_adapter_changes_the_answers_of_those_who_ask_for_it(
    runtime: LocalRuntime, smollm: Path, tmp_path: Path
) -> None:
    file = write_lora(tmp_path / "odd.gguf", width=576, weight="blk.20.attn_output.weight")
    spec = LlamaCppEngine(context_tokens=512, parallel=1, adapters=[Adapter(name="odd", source=str(file))])

    async def body() -> None:
        async with replica(runtime, smollm, spec) as (_, endpoint, capacity):
            assert "lora_by_id" in capacity.capabilities
            texts = []
            for extra in ({}, {"lora": [{"id": 0, "scale": 1.0}]}, {}, {"lora": [{"id": 0, "scale": 1.0}]}, {}):
                answer = await post(endpoint, "/v1/chat/completions", CHAT | extra)
                texts.append(json.loads(answer.body)["choices"][0]["message"]["content"])
            assert texts[0] == texts[2] == texts[4], "who does not ask for it gets the base model"
            assert texts[1] == texts[3] != texts[0]

    asyncio.run(body())
