"""The first of two legs where prefill and decode are apart, as vLLM's KV connectors want it of a proxy.

    prefill   the request with max_tokens 1, unstreamed, and kv_transfer_params {do_remote_decode: true}
    decode    the request as it is, with the kv_transfer_params that the first answer carried

The decode replica fetches the KV cache itself; the token of the first leg is thrown away. Whatever goes wrong with that
leg (nobody there, an error, no parameters in the answer) costs its time alone: the prompt is then computed where it
decodes.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from roadbed.router.base import Features
from roadbed.router.core import RouterCore

if TYPE_CHECKING:
    from roadbed.gateway.openai.bodies import EndpointName
    from roadbed.gateway.tables import Replica
    from roadbed.gateway.wire.upstream import UpstreamConnection

log = logging.getLogger(__name__)
MOST_BYTES = 4 * 2**20
"""An answer of one token and the numbers of its blocks."""
_ASKED = msgspec.Raw(
    b'{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,'
    b'"remote_host":null,"remote_port":null}'
)
_OWN_FAULT = 500
"""From this status on the replica is to blame, not the request."""
_LEFT_OUT = ("stream_options", "min_tokens", "n")


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    kv_transfer_params: msgspec.Raw = msgspec.Raw(b"null")
    usage: _Usage | None = None


def prefill_body(raw: bytes) -> bytes:
    """The body of the first leg. ValueError (msgspec's) for what is no JSON object."""
    body = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for name in _LEFT_OUT:
        body.pop(name, None)
    one = msgspec.Raw(b"1")
    if "max_completion_tokens" in body:
        body["max_completion_tokens"] = one
    body["max_tokens"] = one
    body["stream"] = msgspec.Raw(b"false")
    body["kv_transfer_params"] = _ASKED
    return msgspec.json.encode(body)


def decode_body(raw: bytes, params: bytes) -> bytes:
    """The body of the second leg: `params` as the first answer had them."""
    body = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    body["kv_transfer_params"] = msgspec.Raw(params)
    return msgspec.json.encode(body)


class PrefillLeg:
    """Sink of the first leg. `then` is called once, with kv_transfer_params or b"" if there are none, unless `cancel`
    came first. The router of the prefill replicas is told of every end."""

    __slots__ = ("_body", "_features", "_is_over", "_router", "_size", "_status", "_then", "gone", "upstream")

    def __init__(self, router: RouterCore, features: Features, then: Callable[[bytes], None]) -> None:
        self._router = router
        self._features = features
        self._then = then
        self._body: list[bytes] = []
        self._size = 0
        self._status = 0
        self._is_over = False
        self.gone = False
        self.upstream: UpstreamConnection | None = None

    def send(self, replica: "Replica", endpoint: "EndpointName", raw: bytes) -> None:
        """Sends the first leg of a request body to a replica that the router chose."""
        body, request_id = prefill_body(raw), self._features.request_id
        head = f"{replica.heads[endpoint]}x-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        replica.pool.send(self, head.encode() + body)

    def cancel(self) -> None:
        """The client left: nothing follows."""
        if not self._is_over:
            self._is_over = self.gone = True
            upstream, self.upstream = self.upstream, None
            if upstream is not None:
                upstream.cancel()
            self._router.cancel(self._features.request_id, monotonic())

    def up_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status

    def up_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_BYTES:
            self._body.clear()
        else:
            self._body.append(data)

    def up_done(self) -> None:
        self.upstream = None
        answer = self._answer()
        params = b"" if answer is None else bytes(answer.kv_transfer_params)
        if params == b"null":
            params = b""
        if not params:
            log.warning("request %s: no KV cache from its prefill leg (%d)", self._features.request_id, self._status)
        self._over(params, answer.usage if answer is not None else None)

    def up_lost(self, message: str, reached: bool) -> None:
        self.upstream = None
        log.warning("request %s: its prefill replica was lost: %s", self._features.request_id, message)
        self._over(b"", None)

    def _answer(self) -> _Answer | None:
        if self._status != 200 or self._size > MOST_BYTES:
            return None
        try:
            return msgspec.json.decode(b"".join(self._body), type=_Answer)
        except msgspec.DecodeError:
            return None

    def _over(self, params: bytes, usage: _Usage | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        now, request_id = monotonic(), self._features.request_id
        details = usage.prompt_tokens_details if usage is not None else None
        if params:
            self._router.finish(
                request_id, now, outcome_ok=True, prompt_tokens=usage.prompt_tokens if usage is not None else 0,
                cached_tokens=details.cached_tokens if details is not None else None, completion_tokens=1,
            )  # fmt: skip
        elif self._status and self._status < _OWN_FAULT:
            self._router.finish(request_id, now, outcome_ok=False)
        else:
            self._router.failed(request_id, now)
            self._router.cancel(request_id, now)  # it may have chosen another
        self._then(params)
