"""Bodies: what is understood, what is refused, what is passed on."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.gateway.openai import bodies
from roadbed.gateway.openai.errors import ApiError

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "n",
        "stop",
        "max_tokens",
        "tools",
        "stream_options",
        "temperature",
        "input",
        "prompt",
    ]
)
PARSERS = [bodies.parse_chat, bodies.parse_completion, bodies.parse_embedding]


@given(raw=st.binary(max_size=200))
@settings(max_examples=200)
@pytest.mark.parametrize("parse", PARSERS)
def test_any_bytes_are_parsed_or_refused(parse: Any, raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse(raw)
    assert refused.value.status == 400


@given(body=st.dictionaries(FIELDS, JSON, max_size=8))
@settings(max_examples=300)
@pytest.mark.parametrize("parse", PARSERS)
def test_any_object_is_parsed_or_refused_with_an_openai_error(parse: Any, body: dict[str, Any]) -> None:
    try:
        parsed = parse(json.dumps(CHAT | body if parse is bodies.parse_chat else body).encode())
    except ApiError as error:
        assert error.status == 400
        assert set(json.loads(error.body())["error"]) == {"message", "type", "param", "code"}
    else:
        assert isinstance(parsed.model, str)


def test_chat_features() -> None:
    parsed = bodies.parse_chat(
        json.dumps(
            CHAT
            | {
                "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 9, "max_completion_tokens": 5,
                "n": 2, "prompt_cache_key": "s", "service_tier": "flex", "tools": [{"type": "function"}], "extra": {},
            }
        ).encode()
    )  # fmt: skip
    assert (parsed.stream, parsed.include_usage, parsed.max_tokens, parsed.num_choices) == (True, True, 5, 2)
    assert (parsed.session, parsed.service_tier) == ("s", "flex")
    assert bytes(parsed.prefix) == b'[{"type": "function"}]'
    assert json.loads(bytes(parsed.prompt)) == CHAT["messages"]


@pytest.mark.parametrize("prompt", ["text", ["a", "b"], [1, 2, 3], [[1], [2, 3]]])
def test_every_form_of_prompt_is_accepted(prompt: Any) -> None:
    assert bodies.parse_completion(json.dumps({"model": "m", "prompt": prompt}).encode()).model == "m"
    assert bodies.parse_embedding(json.dumps({"model": "m", "input": prompt}).encode()).max_tokens == 0


@pytest.mark.parametrize("prompt", [[], 5, {}, [None], [{}], None])
def test_other_prompts_are_refused(prompt: Any) -> None:
    for parse, name in ((bodies.parse_completion, "prompt"), (bodies.parse_embedding, "input")):
        with pytest.raises(ApiError) as refused:
            parse(json.dumps({"model": "m", name: prompt}).encode())
        assert refused.value.status == 400


def test_content_parts_tool_calls_and_null_content_are_messages() -> None:
    messages = [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "y"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "1", "content": "z"},
    ]
    assert bodies.parse_chat(json.dumps(CHAT | {"messages": messages}).encode()).model == "m"


@pytest.mark.parametrize("model", [None, "other"])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "x": 1}])
def test_rewriting_changes_only_what_it_must(model: str | None, options: dict[str, Any] | None) -> None:
    body = CHAT | {"stream": True, "odd": [1, {"a": None}], "text": "ü\u2028"}
    if options is not None:
        body["stream_options"] = options
    raw = json.dumps(body).encode()
    parsed = bodies.parse_chat(raw)
    out = json.loads(bodies.rewrite(raw, model=model, add_usage=True, parsed=parsed))
    assert out == body | {"model": model or "m", "stream_options": (options or {}) | {"include_usage": True}}
    assert bodies.rewrite(raw, model=None, add_usage=False, parsed=parsed) is raw
    lora = json.loads(bodies.rewrite(raw, model=None, add_usage=False, parsed=parsed, lora=3))
    assert lora == json.loads(raw) | {"lora": [{"id": 3, "scale": 1.0}]}
