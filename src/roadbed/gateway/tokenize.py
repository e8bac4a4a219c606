"""POST /tokenize: how the model's own tokenizer cuts a text. Asked of any ready replica; not billed."""

from typing import TYPE_CHECKING, Any

import msgspec

from roadbed.gateway.openai import errors
from roadbed.gateway.openai.errors import ApiError

if TYPE_CHECKING:
    from roadbed.gateway.access import Caller
    from roadbed.gateway.plane import Plane
    from roadbed.gateway.wire.server import Request, ServerConnection
    from roadbed.gateway.wire.upstream import UpstreamConnection


class TokenizeBody(msgspec.Struct):
    """vLLM's and llama.cpp's names for the text are both accepted."""

    model: str
    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool = True


class TokenizeReply(msgspec.Struct):
    model: str
    count: int
    tokens: list[int]


_body = msgspec.json.Decoder(TokenizeBody)


class Tokenize:
    """Handler and Sink of one question."""

    def __init__(self, plane: "Plane", connection: "ServerConnection", request: "Request", model: str) -> None:
        self._plane = plane
        self._connection = connection
        self._request = request
        self._model = model
        self._status = 0
        self._pieces: list[bytes] = []
        self.upstream: UpstreamConnection | None = None
        self.gone = False

    @classmethod
    def start(cls, plane: "Plane", caller: "Caller", request: "Request", connection: "ServerConnection") -> "Tokenize":
        """Sends the question. Raises ApiError on a bad body, an unknown model or no replica."""
        try:
            body = _body.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, "invalid_value", f"Invalid body: {error}.") from None
        text = body.prompt if body.prompt is not None else body.content
        if text is None:
            raise ApiError(400, "missing_required_parameter", "'prompt' is missing.", param="prompt")
        service = plane.service_for(body.model, caller, "tokenize")
        able = [r for r in service.router.replicas if not r.info.draining]
        if not able:
            raise ApiError(503, "no_replica", "The model has no ready replica.", retry_after_s=1.0)
        replica = service.replicas[min(able, key=lambda r: r.num_running).info.slot]
        upstream_model = replica.upstream_model or body.model
        question = {
            "model": upstream_model,
            "content": text,
            "prompt": text,
            "add_special": body.add_special_tokens,
            "add_special_tokens": body.add_special_tokens,
        }
        raw = msgspec.json.encode(question)
        asked = cls(plane, connection, request, body.model)
        head = f"POST {replica.entry.base_path}/tokenize HTTP/1.1\r\n{replica.fields}content-length: {len(raw)}\r\n\r\n"
        replica.pool.send(asked, head.encode() + raw)
        return asked

    def up_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status

    def up_data(self, data: bytes) -> None:
        self._pieces.append(data)

    def up_done(self) -> None:
        self.upstream = None
        body = b"".join(self._pieces)
        if self._status != 200:
            self._fail(errors.from_engine(self._status, body))
            return
        try:
            reply: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
            tokens = msgspec.convert(reply.get("tokens"), list[int])
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            self._fail(ApiError(502, "engine_error", "The engine's tokenizer gave no tokens."))
            return
        answer = msgspec.json.encode(TokenizeReply(self._model, len(tokens), tokens))
        self._connection.respond(200, b"content-type: application/json\r\n", answer)

    def up_lost(self, message: str, reached: bool) -> None:
        self.upstream = None
        self._fail(ApiError(502, "engine_error", f"The replica was lost: {message}."))

    def client_gone(self) -> None:
        self.gone = True
        if self.upstream is not None:
            self.upstream.cancel()

    def client_slow(self, slow: bool) -> None:
        pass  # the answer is one small write

    def _fail(self, error: ApiError) -> None:
        if not self.gone:
            self._plane.respond_error(self._connection, self._request, error)
