"""Token counts as engines report them."""

import msgspec


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """OpenAI's usage object; unknown members are ignored."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens the engine had in its cache; None when it does not say."""
        details = self.prompt_tokens_details
        return details.cached_tokens if details is not None else None


def with_another_choice(so_far: Usage | None, usage: Usage) -> Usage:
    """The usage of a stream after a further event of usage alone. OpenAI sends one such event; llama.cpp sends one for
    each of `n` choices, with that choice's completion tokens and the same prompt."""
    if so_far is None:
        return usage
    completion = (so_far.completion_tokens or 0) + (usage.completion_tokens or 0)
    return msgspec.structs.replace(so_far, completion_tokens=completion, total_tokens=so_far.prompt_tokens + completion)


class _Reply(msgspec.Struct):
    usage: Usage | None = None


_reply = msgspec.json.Decoder(_Reply)


def usage_of(body: bytes) -> Usage | None:
    """Usage of a whole reply, None where there is none or the reply is not the JSON we know."""
    try:
        return _reply.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
