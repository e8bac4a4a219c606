"""The OpenAI Python SDK against a real platform: it must not notice the difference."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.e2e.platform import Platform, until

pytestmark = pytest.mark.e2e
MODEL = "smollm2-135m-instruct"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def sdk(platform: Platform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=platform.key, max_retries=0) as client:
        yield client


def test_models(sdk: openai.OpenAI) -> None:
    names = [model.id for model in sdk.models.list()]
    assert MODEL in names
    assert "chat" in names
    raw = sdk.models.with_raw_response.retrieve(MODEL)
    Model.model_validate_json(raw.text, strict=True)
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.models.retrieve("gpt-9")
    assert missing.value.code == "model_not_found"


def test_a_chat_completion_is_strictly_what_the_sdk_says(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=12, temperature=0, seed=1
    )
    reply = ChatCompletion.model_validate_json(raw.text, strict=True)
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 12
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-roadbed-replica"].startswith("chat-")
    assert raw.headers["x-roadbed-route"]
    assert float(raw.headers["x-roadbed-overhead-ms"]) < 1000


def test_a_stream_is_strictly_what_the_sdk_says(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    lines = [line for line in raw.http_response.read().decode().split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    payloads = [json.loads(line[6:]) for line in lines[:-1]]
    chunks = [ChatCompletionChunk.model_validate_json(line[6:], strict=True) for line in lines[:-1]]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    *rest, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert all("usage" in payload for payload in payloads)
    assert all(chunk.usage is None for chunk in rest)
    assert [c.choices[0].finish_reason for c in rest][-1] in ("stop", "length")


def test_a_stream_without_usage_has_none(sdk: openai.OpenAI) -> None:
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_async_streams_in_parallel(platform: Platform) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Count to {number}."}], max_tokens=8, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def scenario() -> list[str]:
        async with openai.AsyncOpenAI(base_url=platform.gateway + "/v1", api_key=platform.key) as client:
            return await asyncio.gather(*(one(client, number) for number in range(6)))

    assert all(asyncio.run(scenario()))


def test_completions(sdk: openai.OpenAI) -> None:
    raw = sdk.completions.with_raw_response.create(model=MODEL, prompt="One, two,", max_tokens=4, temperature=0)
    reply = Completion.model_validate_json(raw.text, strict=True)
    assert reply.choices[0].text
    pieces = list(sdk.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, stream=True))
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices)


def test_structured_output_follows_the_schema(sdk: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    reply = sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Invent a person."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
        max_tokens=80,
        temperature=0,
    )
    person = json.loads(reply.choices[0].message.content or "")
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


def test_tools_are_refused_where_the_template_knows_none(sdk: openai.OpenAI) -> None:
    """The default model's does not; llama.cpp would ignore them without a word."""
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model=MODEL, messages=HELLO, tools=[{"type": "function", "function": function}])  # type: ignore[list-item]
    assert (refused.value.code, refused.value.param) == ("tools_unsupported", "tools")


def test_all_choices_are_answered_and_accounted_for(sdk: openai.OpenAI, platform: Platform) -> None:
    reply = sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, n=2, max_tokens=6, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in reply.parse().choices] == [0, 1]
    request_id = reply.headers["x-request-id"]
    until(lambda: any(row["request_id"] == request_id for row in platform.usage_rows()), 10, "its usage")
    [row] = [row for row in platform.usage_rows() if row["request_id"] == request_id]
    assert row["completion_tokens"] == 12
    usage = reply.parse().usage
    assert usage is not None
    assert usage.completion_tokens == 12


def test_logprobs(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=3, logprobs=True, top_logprobs=2)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content[0].top_logprobs) == 2


def test_embeddings_of_a_chat_model_are_refused_in_the_sdks_terms(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.embeddings.create(model=MODEL, input="x")
    assert refused.value.code == "unsupported_endpoint"
    assert CreateEmbeddingResponse.model_fields


def test_embeddings(own_platform: Callable[..., Platform]) -> None:
    """Any llama.cpp model gives embeddings when its service asks for them."""
    platform = own_platform("--empty")
    engine = {"kind": "llamacpp", "embeddings": True, "context_tokens": 512}
    platform.control.apply([{"kind": "service", "name": "embed", "model": MODEL, "engine": engine}])
    with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=platform.key) as sdk:
        _check_embeddings(sdk)


def _check_embeddings(sdk: openai.OpenAI) -> None:
    raw = until(lambda: _embed(sdk), 30, "an embedding")
    reply = CreateEmbeddingResponse.model_validate_json(raw, strict=True)
    assert [item.index for item in reply.data] == [0, 1]
    assert len(reply.data[0].embedding) == len(reply.data[1].embedding) > 100
    assert reply.usage.prompt_tokens > 0
    packed = sdk.embeddings.create(model="embed", input="hello world", encoding_format="base64")
    assert packed.data[0].embedding


def _embed(sdk: openai.OpenAI) -> str | None:
    try:
        return sdk.embeddings.with_raw_response.create(
            model="embed", input=["hello world", "goodbye"], encoding_format="float"
        ).text
    except (openai.NotFoundError, openai.InternalServerError):
        return None  # it is still starting


def test_errors_are_the_sdks_exceptions(platform: Platform, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as who:
        sdk.with_options(api_key="rb_aaaaaaaaaaaa_wrong").models.list()
    assert who.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as model:
        sdk.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (model.value.code, model.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as empty:
        sdk.chat.completions.create(model=MODEL, messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as long:
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert long.value.code == "context_length_exceeded"


def test_the_sdk_honours_our_retry_advice(platform: Platform) -> None:
    made = platform.control.create_key("limited", limits={"requests_per_minute": 60, "concurrency": None})
    key, secret = made["key"], made["secret"]

    def ask(client: openai.OpenAI) -> Any:
        return client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=1)

    with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=secret, max_retries=0) as client:
        until(lambda: _accepted(client), 5, "the new key")
    tight = platform.control.create_key("tight", limits={"requests_per_minute": 1})
    with openai.OpenAI(base_url=platform.gateway + "/v1", api_key=tight["secret"], max_retries=0) as client:
        until(lambda: _accepted(client), 5, "the new key")
        ask(client)
        with pytest.raises(openai.RateLimitError) as limited:
            ask(client)
        assert limited.value.code == "rate_limit_exceeded"
        assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60
    platform.control.revoke_key(key["id"])
    platform.control.revoke_key(tight["key"]["id"])


def _accepted(client: openai.OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return False
    return True


def test_tokenize(platform: Platform) -> None:
    import httpx2

    reply = httpx2.post(
        platform.gateway + "/tokenize",
        json={"model": MODEL, "prompt": "hello world"},
        headers={"authorization": f"Bearer {platform.key}"},
    )
    assert reply.status_code == 200
    assert reply.json()["count"] == len(reply.json()["tokens"]) >= 2


def test_what_was_asked_can_be_replayed(sdk: openai.OpenAI, platform: Platform, tmp_path: Path) -> None:
    """The gateway's traffic log becomes a trace, with what was predicted beside what was measured."""
    for _ in range(2):
        stream = sdk.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, stream=True)
        assert list(stream)
    out = tmp_path / "trace.jsonl"

    def exported() -> Any:
        done = platform.run("twin", "from-log", "--service", "chat", "--out", str(out), "--json", check=False)
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        return found if found.get("prediction") else None

    said = until(exported, what="a predicted request in the log")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert said["requests"] >= len(rows) >= 2
    assert said["prediction"]["mean_measured_s"] > 0
    assert all(row["prompt_tokens"] > 0 and row["output_tokens"] > 0 for row in rows)
    assert "Say hello" not in "".join(path.read_text() for path in platform.home.traffic.iterdir())
