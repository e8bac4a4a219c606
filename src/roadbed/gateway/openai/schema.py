"""What request bodies look like: typed where OpenAI's API is typed, raw where only bytes matter.

Apart from `bodies`, because msgspec reads these annotations at run time and a compiled module keeps only half of them.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

RAW_NONE: Final = msgspec.Raw(b"null")


NumTokens = Annotated[int, Meta(ge=1, le=2**31)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


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
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    max_tokens: NumTokens | None = None
    user: str | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None


class ChatBody(_Common):
    messages: msgspec.Raw = RAW_NONE
    tools: msgspec.Raw = RAW_NONE
    max_completion_tokens: NumTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class CompletionBody(_Common):
    prompt: msgspec.Raw = RAW_NONE
    max_tokens: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    echo: bool | None = None
    logprobs: int | None = None


class EmbeddingBody(msgspec.Struct):
    model: str
    input: msgspec.Raw = RAW_NONE
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**20)] | None = None
    user: str | None = None


decode_chat = msgspec.json.Decoder(ChatBody).decode
decode_completion = msgspec.json.Decoder(CompletionBody).decode
decode_embedding = msgspec.json.Decoder(EmbeddingBody).decode
decode_messages = msgspec.json.Decoder(list[Message]).decode
decode_prompt = msgspec.json.Decoder(str | list[str | int | list[int]]).decode
