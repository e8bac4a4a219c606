"""Request bodies, checked and boiled down to what the gateway needs.

The prompt stays raw JSON: hashing the bytes as the client sent them costs nothing and is as good a prefix key as the
rendered prompt, because a client serialises the turns it repeats the same way each time. Unknown fields pass through.
"""

import re
from typing import Literal

import msgspec

from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.openai.schema import (
    RAW_NONE,
    ChatBody,
    CompletionBody,
    decode_chat,
    decode_completion,
    decode_embedding,
    decode_messages,
    decode_prompt,
)

EndpointName = Literal["chat", "completions", "embeddings"]


class Parsed:
    """What the gateway needs to know of a request. `prefix` is raw JSON rendered before the prompt by every template
    (tools)."""

    __slots__ = (
        "has_stream_options", "include_usage", "max_tokens", "model", "num_choices", "prefix", "prompt",
        "service_tier", "session", "stream",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        prompt: msgspec.Raw,
        prefix: msgspec.Raw,
        *,
        stream: bool = False,
        include_usage: bool = False,
        has_stream_options: bool = False,
        max_tokens: int | None = None,
        num_choices: int = 1,
        session: str | None = None,
        service_tier: str | None = None,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.prefix = prefix
        self.stream = stream
        self.include_usage = include_usage
        self.has_stream_options = has_stream_options
        self.max_tokens = max_tokens
        self.num_choices = num_choices
        self.session = session
        self.service_tier = service_tier


_NO_TOOLS = (RAW_NONE, msgspec.Raw(b"[]"))
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


def _not_empty(value: object, param: str) -> None:
    if value == []:
        raise ApiError(400, "invalid_value", f"Invalid value for '{param}': it must not be empty.", param=param)


def _common(body: ChatBody | CompletionBody, prompt: msgspec.Raw, prefix: msgspec.Raw) -> Parsed:
    options = body.stream_options
    if options is not None and not body.stream:
        raise ApiError(
            400, "invalid_value", "'stream_options' is only allowed when 'stream' is true.", param="stream_options"
        )
    return Parsed(
        body.model,
        prompt,
        prefix,
        stream=body.stream is True,
        include_usage=options is not None and options.include_usage is True,
        has_stream_options=options is not None,
        max_tokens=body.max_tokens,
        num_choices=body.n or 1,
        session=body.prompt_cache_key,
        service_tier=body.service_tier,
    )


def parse_chat(raw: bytes) -> Parsed:
    """Checks a /v1/chat/completions body. Raises ApiError 400 naming the field."""
    try:
        body = decode_chat(raw)
        messages = decode_messages(body.messages) if body.messages != RAW_NONE else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error, "messages" if _is_messages_error(raw, error) else "") from None
    if not messages:
        raise ApiError(
            400, "missing_required_parameter", "'messages' must hold at least one message.", param="messages"
        )
    tools = body.tools
    parsed = _common(body, body.messages, tools if tools not in _NO_TOOLS else RAW_NONE)
    if body.max_completion_tokens is not None:
        parsed.max_tokens = body.max_completion_tokens
    return parsed


def _is_messages_error(raw: bytes, error: Exception) -> bool:
    """The outer body was fine, so the error is inside `messages`."""
    if not isinstance(error, msgspec.ValidationError):
        return False
    try:
        decode_chat(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def parse_completion(raw: bytes) -> Parsed:
    """Checks a /v1/completions body. Raises ApiError 400 naming the field."""
    try:
        body = decode_completion(raw)
        if body.prompt == RAW_NONE:
            raise ApiError(400, "missing_required_parameter", "'prompt' is missing.", param="prompt")
        _not_empty(decode_prompt(body.prompt), "prompt")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    return _common(body, body.prompt, RAW_NONE)


def parse_embedding(raw: bytes) -> Parsed:
    """Checks a /v1/embeddings body. Raises ApiError 400 naming the field."""
    try:
        body = decode_embedding(raw)
        if body.input == RAW_NONE:
            raise ApiError(400, "missing_required_parameter", "'input' is missing.", param="input")
        _not_empty(decode_prompt(body.input), "input")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(error) from None
    return Parsed(body.model, body.input, RAW_NONE, max_tokens=0)


def rewrite(
    raw: bytes, *, model: str | None, add_usage: bool, parsed: Parsed, stream: bool = False, lora: int = -1
) -> bytes:
    """The body as the engine gets it: another model name, a request for usage where the client asked for none,
    `stream` where an answer that the client wants whole is to come as a stream with usage, and `lora`, the place of the
    adapter that llama.cpp is to apply.

    Adding a member in front is a splice; anything else is decoded and encoded again.
    """
    if model is None and not add_usage and not stream and lora < 0:
        return raw
    if model is None and not parsed.has_stream_options and not stream and lora < 0:
        start = raw.index(b"{") + 1
        return b'%b"stream_options":{"include_usage":true},%b' % (raw[:start], raw[start:])
    body = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if model is not None:
        body["model"] = msgspec.Raw(msgspec.json.encode(model))
    if lora >= 0:
        body["lora"] = msgspec.Raw(b'[{"id":%d,"scale":1.0}]' % lora)
    if stream:
        body["stream"] = msgspec.Raw(b"true")
    if add_usage or stream:
        options = msgspec.json.decode(body.get("stream_options", b"null")) or {}
        body["stream_options"] = msgspec.Raw(msgspec.json.encode(options | {"include_usage": True}))
    return msgspec.json.encode(body)
