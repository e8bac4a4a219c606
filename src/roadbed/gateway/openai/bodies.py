"""Request bodies, decoded once: typed where OpenAI's API is typed, raw where only bytes matter.

The prompt stays raw JSON: hashing the bytes as the client sent them costs nothing and is as good a prefix key as the
rendered prompt, because a client serialises the turns it repeats the same way each time. Unknown fields pass through.
"""

import re
from typing import Any, Final, Literal

import msgspec

from roadbed.gateway.openai.errors import ApiError

EndpointName = Literal["chat", "completions", "embeddings"]

_RAW_NONE: Final = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    """Only what every engine relies on; further fields belong to the engine."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Common(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    user: str | None = None
    stop: str | list[str] | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None


class ChatBody(_Common):
    messages: msgspec.Raw = _RAW_NONE
    tools: msgspec.Raw = _RAW_NONE
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class CompletionBody(_Common):
    prompt: msgspec.Raw = _RAW_NONE
    echo: bool | None = None
    logprobs: int | None = None


class EmbeddingBody(msgspec.Struct):
    model: str
    input: msgspec.Raw = _RAW_NONE
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class Parsed(msgspec.Struct):
    """What the gateway needs to know of a request."""

    model: str
    prompt: msgspec.Raw
    prefix: msgspec.Raw
    """Raw JSON rendered before the prompt by every template (tools)."""
    stream: bool = False
    include_usage: bool = False
    has_stream_options: bool = False
    max_tokens: int | None = None
    num_choices: int = 1
    session: str | None = None
    service_tier: str | None = None


_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_embedding = msgspec.json.Decoder(EmbeddingBody)
_messages = msgspec.json.Decoder(list[Message])
_prompt = msgspec.json.Decoder(str | list[str | int | list[int]])
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def _refused(error: Exception, where: str = "") -> ApiError:
    """A decode error as the client should read it: which field, what was expected."""
    text = str(error)
    if isinstance(error, RecursionError):
        return ApiError(400, "invalid_json", "The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return ApiError(400, "invalid_json", "The body is not valid UTF-8.")
    if not isinstance(error, msgspec.ValidationError):
        return ApiError(400, "invalid_json", f"The body is not valid JSON: {text}.")
    match = _PATH.search(text)
    param = f"{where}{'.' if where and match and match[1][:1] not in ('', '[') else ''}{match[1] if match else ''}"
    missing = re.search(r"missing required field `([^`]+)`", text)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
    reason = _PATH.sub("", text)
    message = f"Invalid value for '{param}': {reason}." if param else f"Invalid body: {reason}."
    return ApiError(400, "invalid_value", message, param=param or None)


def _range(value: float, low: float, high: float, param: str) -> None:
    if not low <= value <= high:
        raise ApiError(
            400, "invalid_value", f"Invalid value for '{param}': {value} is not in {low}..{high}.", param=param
        )


def _not_empty(value: object, param: str) -> None:
    if value == []:
        raise ApiError(400, "invalid_value", f"Invalid value for '{param}': it must not be empty.", param=param)


_RANGES: Final = (
    ("n", 1, 128),
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
)


def _check_common(body: ChatBody | CompletionBody) -> None:
    for name, low, high in _RANGES:
        value = getattr(body, name)
        if value is not None:
            _range(value, low, high, name)
    if body.max_tokens is not None:
        _range(body.max_tokens, 0 if isinstance(body, CompletionBody) else 1, 2**31, "max_tokens")
    if isinstance(body.stop, list) and len(body.stop) > 4:
        raise ApiError(400, "invalid_value", "Invalid value for 'stop': at most 4 sequences.", param="stop")
    if body.stream_options is not None and not body.stream:
        raise ApiError(
            400, "invalid_value", "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )


def _common(body: ChatBody | CompletionBody, prompt: msgspec.Raw, prefix: msgspec.Raw) -> Parsed:
    options = body.stream_options
    return Parsed(
        body.model,
        prompt,
        prefix,
        body.stream is True,
        options is not None and options.include_usage is True,
        options is not None,
        body.max_tokens,
        body.n or 1,
        body.prompt_cache_key,
        body.service_tier,
    )


def parse_chat(raw: bytes) -> Parsed:
    """Checks a /v1/chat/completions body. Raises ApiError 400 naming the field."""
    try:
        body = _chat.decode(raw)
        messages = _messages.decode(body.messages) if body.messages != _RAW_NONE else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error, "messages" if _is_messages_error(raw, error) else "") from None
    if not messages:
        raise ApiError(
            400, "missing_required_parameter", "'messages' must hold at least one message.", param="messages"
        )
    _check_common(body)
    if body.top_logprobs is not None:
        _range(body.top_logprobs, 0, 20, "top_logprobs")
    parsed = _common(body, body.messages, body.tools)
    if body.max_completion_tokens is not None:
        _range(body.max_completion_tokens, 1, 2**31, "max_completion_tokens")
        parsed.max_tokens = body.max_completion_tokens
    return parsed


def _is_messages_error(raw: bytes, error: Exception) -> bool:
    """The outer body was fine, so the error is inside `messages`."""
    if not isinstance(error, msgspec.ValidationError):
        return False
    try:
        _chat.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def parse_completion(raw: bytes) -> Parsed:
    """Checks a /v1/completions body. Raises ApiError 400 naming the field."""
    try:
        body = _completion.decode(raw)
        if body.prompt == _RAW_NONE:
            raise ApiError(400, "missing_required_parameter", "'prompt' is missing.", param="prompt")
        _not_empty(_prompt.decode(body.prompt), "prompt")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    _check_common(body)
    return _common(body, body.prompt, _RAW_NONE)


def parse_embedding(raw: bytes) -> Parsed:
    """Checks a /v1/embeddings body. Raises ApiError 400 naming the field."""
    try:
        body = _embedding.decode(raw)
        if body.input == _RAW_NONE:
            raise ApiError(400, "missing_required_parameter", "'input' is missing.", param="input")
        _not_empty(_prompt.decode(body.input), "input")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    if body.dimensions is not None:
        _range(body.dimensions, 1, 2**20, "dimensions")
    return Parsed(body.model, body.input, _RAW_NONE, max_tokens=0)


def rewrite(raw: bytes, *, model: str | None, add_usage: bool, parsed: Parsed) -> bytes:
    """The body as the engine gets it: another model name and a request for usage where the client asked for none.

    Adding a member in front is a splice; anything else is decoded and encoded again.
    """
    if model is None and not add_usage:
        return raw
    if model is None and not parsed.has_stream_options:
        start = raw.index(b"{") + 1
        return b'%b"stream_options":{"include_usage":true},%b' % (raw[:start], raw[start:])
    body = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if model is not None:
        body["model"] = msgspec.Raw(msgspec.json.encode(model))
    if add_usage:
        options = msgspec.json.decode(body.get("stream_options", b"null")) or {}
        body["stream_options"] = msgspec.Raw(msgspec.json.encode(options | {"include_usage": True}))
    return msgspec.json.encode(body)
