"""What request bodies look like: typed where OpenAI's API is typed, raw where only bytes matter.

Apart from `bodies`, because msgspec reads these annotations at run time and a compiled module keeps only half of them.
"""

from typing import Any, Final, Literal

import msgspec

RAW_NONE: Final = msgspec.Raw(b"null")


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
    messages: msgspec.Raw = RAW_NONE
    tools: msgspec.Raw = RAW_NONE
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class CompletionBody(_Common):
    prompt: msgspec.Raw = RAW_NONE
    echo: bool | None = None
    logprobs: int | None = None


class EmbeddingBody(msgspec.Struct):
    model: str
    input: msgspec.Raw = RAW_NONE
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


decode_chat = msgspec.json.Decoder(ChatBody).decode
decode_completion = msgspec.json.Decoder(CompletionBody).decode
decode_embedding = msgspec.json.Decoder(EmbeddingBody).decode
decode_messages = msgspec.json.Decoder(list[Message]).decode
decode_prompt = msgspec.json.Decoder(str | list[str | int | list[int]]).decode
