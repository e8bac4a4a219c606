"""Server-sent events on their way through: forwarded as they are, metered as they pass.

The common piece holds whole events and nothing of interest; it is counted with two byte searches and forwarded
untouched. Only pieces that mention usage, that do not end at an event boundary, or that must be changed for a client
that asked for `include_usage`, are taken apart.

Counting: an event with content is one token at least, which is what engines send; usage reported by the engine, when
there is any, replaces the count.
"""

from typing import Final

import msgspec

from roadbed.gateway.openai.usage import Usage, with_another_choice

_DONE: Final = b"data: [DONE]\n\n"
MAX_EVENT_BYTES: Final = 4 * 2**20


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] = []
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET


_chunk = msgspec.json.Decoder(_Chunk)


class StreamMeter:
    """One stream. `feed` returns the bytes to forward.

    usage: what the engine reported, if it did. num_events: events with choices so far. done: [DONE] was seen.
    """

    __slots__ = ("_chat", "_final", "_partial", "_usage_wanted", "done", "num_events", "usage")

    def __init__(self, usage_wanted: bool, *, chat: bool = False) -> None:
        """`chat`: the first delta must name its role; llama.cpp forgets it when the first token is half a character."""
        self._usage_wanted = usage_wanted
        self._chat = chat
        self._partial = b""
        self._final: Usage | None = None
        self.usage: Usage | None = None
        self.num_events = 0
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """Takes any piece of the body; returns what may be sent on now (perhaps nothing). Raises ValueError when an
        event exceeds MAX_EVENT_BYTES."""
        if (
            self.num_events
            and not self._partial
            and not self._usage_wanted
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and b'"usage"' not in data
            and b"\n:" not in data
        ):
            self.num_events += data.count(b"\n\n")
            if data.endswith(_DONE):
                self.done = True
                self.num_events -= 1
            return data
        return self._feed_slowly(data)

    def finish(self) -> bytes:
        """What was held back when the body ended (an unterminated event, forwarded as it is)."""
        rest, self._partial = self._partial, b""
        return rest

    def _feed_slowly(self, data: bytes) -> bytes:
        pieces = (self._partial + data).replace(b"\r\n", b"\n").split(b"\n\n")
        self._partial = pieces.pop()
        if len(self._partial) > MAX_EVENT_BYTES:
            raise ValueError("the engine sent an event without end")
        return b"".join([self._event(piece) for piece in pieces])

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data:"):
            return event + b"\n\n"
        payload = event[5:].lstrip()
        if payload == b"[DONE]":
            self.done = True
            return event + b"\n\n"
        self.num_events += 1
        if self.num_events == 1 and self._chat and b'"role"' not in payload:
            event = event.replace(b'"delta":{}', b'"delta":{"role":"assistant"}', 1)
            event = event.replace(b'"delta":{"c', b'"delta":{"role":"assistant","c', 1)
            payload = event[5:].lstrip()
        if b'"usage"' in payload:
            return self._usage_event(event, payload)
        return self._plain_event(event)

    def _plain_event(self, event: bytes) -> bytes:
        if self._usage_wanted and event.endswith(b"}") and b'{"error"' not in event:
            return b'%b,"usage":null}\n\n' % event[:-1]
        return event + b"\n\n"

    def _usage_event(self, event: bytes, payload: bytes) -> bytes:
        try:
            chunk = _chunk.decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return event + b"\n\n"
        if isinstance(chunk.usage, msgspec.UnsetType):
            return self._plain_event(event)  # the word was in the text
        if chunk.usage is not None:
            self.usage = chunk.usage
            if not chunk.choices:
                self.usage = self._final = with_another_choice(self._final, chunk.usage)
                self.num_events -= 1
                return event + b"\n\n" if self._usage_wanted else b""
        return event + b"\n\n"
