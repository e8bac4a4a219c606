"""A stream put together into the whole answer its client asked for.

Some engines look at their client only while they stream: asked for a whole answer, they compute it to its end for
nobody. They are asked for a stream instead, and what leaves the gateway is what they would have said themselves. The
trade-off is one JSON decode per token, which is why other engines are asked for what the client asked for.
"""

from typing import Any

import msgspec

from roadbed.gateway.openai.usage import Usage, with_another_choice

MAX_EVENT_BYTES = 4 * 2**20
_OBJECTS = {"chat.completion.chunk": "chat.completion"}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Whole:
    """One answer in the making. Counts what a StreamMeter counts: `usage`, `num_events`, `done`."""

    __slots__ = ("_choices", "_final", "_partial", "_reply", "done", "error", "num_events", "usage")

    def __init__(self) -> None:
        self._partial = b""
        self._reply: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._final: Usage | None = None
        self.usage: Usage | None = None
        self.num_events = 0
        """Events with content so far: about as many tokens, over all choices."""
        self.done = False
        self.error = b""
        """The engine's own error event, if it sent one."""

    def feed(self, data: bytes) -> None:
        """Takes any piece of the body. Raises ValueError on what is no stream of chat or text completion chunks."""
        pieces = (self._partial + data).replace(b"\r\n", b"\n").split(b"\n\n")
        self._partial = pieces.pop()
        if len(self._partial) > MAX_EVENT_BYTES:
            raise ValueError("the engine sent an event without end")
        for piece in pieces:
            name, _, payload = piece.partition(b":")
            if name == b"error" or (name == b"data" and payload.lstrip().startswith(b'{"error"')):
                self.error = payload.strip()
            elif name == b"data":
                self._event(payload.strip())

    def body(self) -> bytes:
        """The whole answer. Raises ValueError when the stream is not over or had no choices."""
        if not self.done or not self._choices:
            raise ValueError("the engine ended its stream early")
        reply = dict(self._reply)
        kind = reply.get("object")
        reply["object"] = _OBJECTS.get(kind, kind) if isinstance(kind, str) else kind
        reply["choices"] = [self._choices[index] for index in sorted(self._choices)]
        for choice in reply["choices"]:
            message = choice.get("message")
            if message is not None and message["content"] is None and "tool_calls" not in message:
                message["content"] = ""
        return msgspec.json.encode(reply)

    def _event(self, payload: bytes) -> None:
        if payload == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _decode(payload)
            self._chunk(chunk)
        except (msgspec.DecodeError, RecursionError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"the engine sent an event that is no chunk ({error})") from None

    def _chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.pop("choices", None) or []
        usage = chunk.get("usage")
        if usage is not None:
            self.usage = msgspec.convert(usage, Usage)
            if not choices:
                self.usage = self._final = with_another_choice(self._final, self.usage)
                usage["completion_tokens"], usage["total_tokens"] = (
                    self.usage.completion_tokens,
                    self.usage.total_tokens,
                )
        self._reply.update({name: value for name, value in chunk.items() if value is not None})
        for delta in choices:
            if self._merge(delta):
                self.num_events += 1

    def _merge(self, piece: dict[str, Any]) -> bool:
        """Adds one choice of a chunk; True when it carried content."""
        index = int(piece["index"])
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"index": index, "finish_reason": None, "logprobs": None}
            choice.update({"message": {"role": "assistant", "content": None}} if "delta" in piece else {"text": ""})
        if piece.get("finish_reason") is not None:
            choice["finish_reason"] = piece["finish_reason"]
        if piece.get("logprobs") is not None:
            choice["logprobs"] = _joined(choice["logprobs"], piece["logprobs"])
        if "delta" not in piece:
            choice["text"] += piece.get("text") or ""
            return bool(piece.get("text"))
        return _merge_delta(choice["message"], piece["delta"])


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> bool:
    told = False
    for name, value in delta.items():
        if value is None or name == "role":
            continue
        told = True
        if name == "tool_calls":
            _merge_calls(message.setdefault("tool_calls", []), value)
        elif isinstance(value, str) and isinstance(message.get(name), str):
            message[name] += value
        else:
            message[name] = value
    return told


def _merge_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    """Tool calls come in pieces too: the first names the function, the others lengthen its arguments."""
    for piece in pieces:
        index = int(piece.get("index", len(calls)))
        while len(calls) <= index < 1024:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], piece.get("function") or {}
        call["id"] = piece.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _joined(before: Any, piece: Any) -> Any:
    """Log probabilities: lists are lengthened, also those inside an object (`content`, `tokens`, …)."""
    if isinstance(before, dict) and isinstance(piece, dict):
        return before | {name: _joined(before.get(name), value) for name, value in piece.items()}
    if isinstance(before, list) and isinstance(piece, list):
        return before + piece
    return piece if piece is not None else before
