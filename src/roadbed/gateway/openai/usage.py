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


class _Reply(msgspec.Struct):
    usage: Usage | None = None


_reply = msgspec.json.Decoder(_Reply)


def usage_of(body: bytes) -> Usage | None:
    """Usage of a whole reply, None where there is none or the reply is not the JSON we know."""
    try:
        return _reply.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
