"""One inference request on its way through the gateway.

    arrive ─▶ waiting ─▶ sent ─▶ answering ─▶ settled
       │         │         │ ╲       │
       │         │         │  ╲ lost before the first byte, or its replica is being stopped: sent again elsewhere
       └─────────┴─────────┴────────┴──▶ settled   (refused, shed, client gone, engine lost)

An exchange is a callback object, not a task: it is the handler of its client connection and the sink of its upstream
connection. `_settle` is the only way out and runs once: ledger, limits, router and metrics move there together.
"""

import logging
from time import monotonic
from typing import TYPE_CHECKING

from roadbed.gateway.openai import errors
from roadbed.gateway.openai.bodies import EndpointName, Parsed, rewrite
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.openai.stream import StreamMeter
from roadbed.gateway.openai.usage import usage_of
from roadbed.gateway.openai.whole import Whole
from roadbed.gateway.prefill import PrefillLeg, decode_body
from roadbed.router.base import Decision, Features

if TYPE_CHECKING:
    from roadbed.gateway.access import Caller
    from roadbed.gateway.ledger.record import Outcome
    from roadbed.gateway.plane import Plane
    from roadbed.gateway.tables import Replica, Service
    from roadbed.gateway.wire.server import Request, ServerConnection
    from roadbed.gateway.wire.upstream import UpstreamConnection
    from roadbed.router.core import RouterCore

MAX_UNARY_BYTES = 64 * 2**20
log = logging.getLogger(__name__)
_THOUSANDTHS = [f"{number:03d}" for number in range(1000)]
_RETRIABLE = frozenset((502, 503, 504))
_MOST_TRIES = 3
"""Replicas a request may lose before nobody waits with it for another: it may be the reason."""


class Exchange:
    """Handler (of the client) and Sink (of the engine) of one request."""

    __slots__ = (
        "_body",
        "_body_size",
        "_content_type",
        "_decided_s",
        "_event_at",
        "_leg",
        "_meter",
        "_queued_at",
        "_replica",
        "_settled",
        "_started",
        "_status",
        "_whole",
        "cached_tokens",
        "caller",
        "completion_tokens",
        "connection",
        "endpoint",
        "estimated",
        "features",
        "first_at",
        "gone",
        "knows_cached",
        "num_tries",
        "outcome",
        "parsed",
        "plane",
        "predicted_s",
        "prompt_tokens",
        "request",
        "request_id",
        "reserved_tokens",
        "route",
        "sent_at",
        "service",
        "status",
        "upstream",
        "used_prompt_tokens",
        "waited_s",
    )

    def __init__(
        self,
        plane: "Plane",
        connection: "ServerConnection",
        request: "Request",
        endpoint: EndpointName,
        caller: "Caller",
        service: "Service",
        parsed: Parsed,
        request_id: str,
        prompt_tokens: int,
    ) -> None:
        self.plane = plane
        self.connection = connection
        self.request = request
        self.endpoint = endpoint
        self.caller = caller
        self.service = service
        self.parsed = parsed
        self.request_id = request_id
        self.outcome: Outcome = "ok"
        self.status = 0
        self.prompt_tokens = prompt_tokens
        self.reserved_tokens = 0
        self.upstream: UpstreamConnection | None = None
        self.gone = False
        self._replica: Replica | None = None
        self.route = ""
        self.predicted_s = 0.0
        self.features: Features | None = None
        self.num_tries = 0
        self._queued_at = 0.0
        self.waited_s = 0.0
        self._decided_s = 0.0
        self.sent_at = 0.0
        self._event_at = 0.0
        self.first_at = 0.0
        self._status = 0
        self._content_type = b"application/json"
        self._body: list[bytes] = []
        self._body_size = 0
        self._meter: StreamMeter | None = None
        self._whole: Whole | None = None
        self._leg: PrefillLeg | None = None
        self._started = False
        self._settled = False
        self.estimated = False
        self.knows_cached = False
        self.used_prompt_tokens = self.cached_tokens = self.completion_tokens = 0

    # ── what the router decides ───────────────────────────────────────────────────────────────────

    def decide(self, decision: Decision) -> None:
        """Carries out a routing decision."""
        if self._settled:
            return
        try:
            self._carry_out(decision)
        except Exception:
            log.exception("request %s failed inside the gateway", self.request_id)
            self.fail()

    def _carry_out(self, decision: Decision) -> None:
        if self._queued_at:
            self.waited_s += monotonic() - self._queued_at
            self._let_go()
        if decision.reason == "no_replica" and decision.kind == "shed" and self.features is not None and self._hopes():
            decision = self.service.router.arrive(self.features, monotonic())
        if decision.kind == "go":
            self.route = decision.reason
            self.predicted_s = decision.predicted_ttft_s
            self._send(self.service.replicas[decision.slot])
        elif decision.kind == "shed":
            self._shed(decision)
        else:
            self._queued_at = monotonic()
            self.plane.held_bytes += len(self.request.body)
            if self.plane.held_bytes > self.plane.max_held_bytes:
                message = "The model is busy and the gateway holds as much as it may."
                retry_s = decision.predicted_ttft_s
                self._refuse(
                    ApiError(429, "model_overloaded", message, error_type="overloaded_error", retry_after_s=retry_s),
                    "shed",
                )

    def _let_go(self) -> None:
        """It waits no longer."""
        self._queued_at = 0.0
        self.plane.held_bytes -= len(self.request.body)

    def _send(self, replica: "Replica") -> None:
        self._replica = replica
        self.num_tries += 1
        self._status = 0
        self._body = []
        self._body_size = 0
        routes = self.service.tally.routes
        routes[self.route] = routes.get(self.route, 0) + 1
        self.sent_at = monotonic()
        if self.num_tries == 1:
            self._decided_s = max(0.0, self.sent_at - self.request.received_at - self.waited_s)
        if self.service.prefill is None or not self._prefill_elsewhere(self.service.prefill, replica):
            self._answer_from(replica, b"")

    def _prefill_elsewhere(self, router: "RouterCore", replica: "Replica") -> bool:
        """Whether somebody else computes the prompt first; `replica` decodes when that is over."""
        features = self.features
        if features is None or self.endpoint == "embeddings" or self.parsed.num_choices > 1 or self.num_tries > 1:
            return False
        decision = router.arrive(features, self.sent_at)
        if decision.kind != "go":
            router.cancel(self.request_id, self.sent_at)
            return False

        def then(params: bytes) -> None:
            self._leg = None
            try:
                if not self._settled:
                    self._answer_from(replica, params)
            except Exception:
                log.exception("request %s failed inside the gateway", self.request_id)
                self.fail()

        self._leg = PrefillLeg(router, features, then)
        self._leg.send(self.service.replicas[decision.slot], self.endpoint, self.request.body)
        return True

    def _answer_from(self, replica: "Replica", params: bytes) -> None:
        """Sends the request to the replica that answers it; params: where its KV cache is, b"" = nowhere."""
        raw = self.request.body
        parsed = self.parsed
        self._whole = Whole() if replica.asks_streams and not parsed.stream and self.endpoint != "embeddings" else None
        lora = self._lora(replica)
        if parsed.stream or self._whole is not None or replica.upstream_model is not None or lora >= 0:
            add_usage = parsed.stream and not parsed.include_usage
            raw = rewrite(
                raw, model=replica.upstream_model, add_usage=add_usage, parsed=parsed, stream=self._whole is not None,
                lora=lora,
            )  # fmt: skip
        if params:
            raw = decode_body(raw, params)
        head = f"{replica.heads[self.endpoint]}x-request-id: {self.request_id}\r\ncontent-length: {len(raw)}\r\n\r\n"
        replica.pool.send(self, head.encode() + raw)

    def _lora(self, replica: "Replica") -> int:
        """The adapter's place in the list of an engine that asks for that, −1 = none is wanted or its name will do."""
        features = self.features
        if features is None or not features.adapter or not replica.lora_by_id:
            return -1
        return self.service.entry.adapters.index(features.adapter)

    def _shed(self, decision: Decision) -> None:
        message = {
            "queue_full": "The model is busy and its queue is full.",
            "deadline": "The model is busy; the request waited as long as it may.",
            "hopeless": "The model is busy; the request would wait longer than it may.",
            "displaced": "The model is busy; requests of higher priority took the request's place in the queue.",
            "no_capable": "No replica of the model takes such a request: none has its adapter or room for its prompt.",
            "no_replica": "No replica of the model could answer.",
        }.get(decision.reason, "The model is busy.")
        nobody = decision.reason == "no_replica" or (decision.reason == "deadline" and not self.service.num_open)
        if nobody and self.service.entry.note:
            message = f"No replica of the model could answer: {self.service.entry.note}."
        status, code = (503, "no_replica") if nobody else (429, "model_overloaded")
        self.route = decision.reason
        if decision.reason == "no_capable":  # nothing is gained by coming back
            self._refuse(ApiError(400, "unsupported_request", message), "shed")
            return
        error = ApiError(status, code, message, error_type="overloaded_error", retry_after_s=decision.retry_after_s)
        self._refuse(error, "shed")

    # ── what the engine says (Sink) ───────────────────────────────────────────────────────────────

    def up_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        self._content_type = headers.get(b"content-type", b"application/json")
        if status == 200 and self.parsed.stream and self._content_type.startswith(b"text/event-stream"):
            self._meter = StreamMeter(self.parsed.include_usage, chat=self.endpoint == "chat")
        else:
            self._meter = None
        if status != 200 or not self._content_type.startswith(b"text/event-stream"):
            self._whole = None  # an error, or an engine that answers as it likes

    def up_data(self, data: bytes) -> None:
        meter = self._meter
        if self._whole is not None:
            self._gather(self._whole, data)
            return
        if meter is None:
            self._body.append(data)
            self._body_size += len(data)
            if self._body_size > MAX_UNARY_BYTES:
                self._cancel_upstream()
                self._engine_failed("The engine's reply is larger than 64 MiB.")
            return
        if not self._started:
            self._event_at = monotonic()
        try:
            out = meter.feed(data)
        except ValueError as error:
            self._cancel_upstream()
            self._engine_failed(f"The engine's stream is broken: {error}.")
            return
        if not out:
            return
        if self._started:
            self.connection.write_stream(out)
            return
        if not meter.num_events and not meter.done:
            return  # a keep-alive comment before the first event: the engine has not answered yet
        self._started = True
        self.first_at = monotonic()
        self.service.router.first_byte(self.request_id, self.first_at)
        headers = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n" + self._headers()
        self.connection.start_stream(200, headers, out)
        if self.connection.paused:
            self.client_slow(True)

    def _gather(self, whole: Whole, data: bytes) -> None:
        """A piece of an answer that the client gets whole."""
        waiting = not whole.num_events
        try:
            whole.feed(data)
        except ValueError as error:
            self._cancel_upstream()
            self._engine_failed(f"The engine's stream is broken: {error}.")
            return
        if waiting and whole.num_events:
            self.service.router.first_byte(self.request_id, monotonic())

    def up_done(self) -> None:
        self.upstream = None
        try:
            self._answered()
        except Exception:
            log.exception("request %s failed inside the gateway", self.request_id)
            self.fail()

    def _answered(self) -> None:
        meter, whole = self._meter, self._whole
        if whole is not None:
            self._whole_done(whole)
        elif meter is None:
            self._unary_done()
        elif meter.done:
            self.connection.end_stream(meter.finish())
            self._settle("ok", 200)
        else:
            self._engine_failed("The engine ended its stream early.")

    def up_lost(self, message: str, reached: bool) -> None:
        self.upstream = None
        if not self._started:
            self._again()
            return
        self._engine_failed(f"The replica was lost: {message}.")

    def _whole_done(self, whole: Whole) -> None:
        if whole.error:
            self._refuse(errors.from_engine(500, whole.error), "engine_error")
            return
        try:
            self._body = [whole.body()]
        except ValueError as error:
            self._engine_failed(f"The engine failed: {error}.")
            return
        self._content_type = b"application/json"
        self._unary_done()

    def _unary_done(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._status == 200:
            self.first_at = monotonic()  # the router learns it with the end, a moment later
            self._started = True
            headers = b"content-type: %b\r\n%b" % (self._content_type, self._headers())
            self.connection.respond(200, headers, body)
            self._settle("ok", 200, body)
        elif self._status in _RETRIABLE:
            self._again()
        else:
            error = errors.from_engine(self._status, body)
            self._refuse(error, "upstream_error")

    def _again(self) -> None:
        """The replica failed before the client saw anything: elsewhere, if the router knows a place."""
        self.plane.metrics.retries.add((self.service.name,))
        self.decide(self.service.router.failed(self.request_id, monotonic()))

    def _hopes(self) -> bool:
        """Whether it waits on, having lost every replica there is: where load decides how many there are, as one that
        comes to none does (one it has lost may be back, too), but not for longer and not for ever."""
        entry = self.service.entry
        waited_s = monotonic() - self.request.received_at
        return entry.holds and 0 < self.num_tries < _MOST_TRIES and waited_s < entry.max_wait_s

    def leave(self) -> None:
        """Its replica is being stopped: elsewhere, while the client has seen nothing and there is somebody else. One
        that is just connecting finds out by itself."""
        replica, upstream = self._replica, self.upstream
        if self._settled or self._started or replica is None or upstream is None:
            return
        slot = replica.entry.slot
        if any(not other.info.draining and other.slot != slot for other in self.service.router.replicas):
            self.upstream = None
            upstream.cancel()
            self._again()

    def _engine_failed(self, message: str) -> None:
        error = ApiError(502, "engine_error", message)
        if self._replica is not None:
            self.service.router.suspect(self._replica.entry.slot, monotonic())
        if self._started:
            rest = self._meter.finish() if self._meter is not None else b""
            closing = b"\n\n" if rest and not rest.endswith(b"\n\n") else b""
            self.connection.end_stream(closing + error.event())
            self._settle("engine_error", 200)
        else:
            self._refuse(error, "engine_error")

    def fail(self) -> None:
        """Something in here went wrong: the client hears it if it still can, and the exchange is settled."""
        if self._settled:
            return
        self._cancel_upstream()
        self._settle("engine_error", 500)
        if self._started:
            self.connection.abort()
        elif self.connection.busy:
            error = ApiError(500, "internal_error", "The gateway failed.")
            self.connection.respond(error.status, error.headers(), error.body())

    # ── what the client does (Handler) ────────────────────────────────────────────────────────────

    def client_gone(self) -> None:
        self._cancel_upstream()
        self._settle("client_gone", 499)

    def client_slow(self, slow: bool) -> None:
        if self.upstream is not None and self._meter is not None:
            self.upstream.pause(slow)

    @property
    def replica_id(self) -> str:
        """Where it was sent last, "" if nowhere."""
        return self._replica.id if self._replica is not None else ""

    # ── the way out ───────────────────────────────────────────────────────────────────────────────

    def _cancel_upstream(self) -> None:
        self.gone = True
        if self._leg is not None:
            self._leg.cancel()
            self._leg = None
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.cancel()

    def _refuse(self, error: ApiError, outcome: "Outcome") -> None:
        self.connection.respond(error.status, error.headers() + self._headers(), error.body())
        self._settle(outcome, error.status)

    def overhead_s(self) -> float:
        """Our own time: from the request's last byte to its first dispatch, without the wait in the queue, and from the
        engine's first event to ours. Its prefill is its own, also when its head came before."""
        answered = self.first_at - self._event_at if self._event_at and self._meter is not None else 0.0
        return self._decided_s + max(0.0, answered)

    def _headers(self) -> bytes:
        overhead_us = int(self.overhead_s() * 1e6)
        limits = self.plane.limit_headers(self.caller) if self.caller.limited else ""
        return (
            f"x-request-id: {self.request_id}\r\nx-roadbed-replica: {self.replica_id}\r\n"
            f"x-roadbed-route: {self.route}\r\n"
            f"x-roadbed-overhead-ms: {overhead_us // 1000}.{_THOUSANDTHS[overhead_us % 1000]}\r\n{limits}"
        ).encode()

    def _settle(self, outcome: "Outcome", status: int, body: bytes = b"") -> None:
        if self._settled:
            return
        self._settled = True
        if self._queued_at:
            self._let_go()
        self.outcome = outcome
        self.status = status
        self._count(outcome, body)
        self.plane.settle(self)

    def _count(self, outcome: "Outcome", body: bytes) -> None:
        """Sets the token counts: the engine's numbers where it gave them, else ours, marked as estimated."""
        meter = self._meter or self._whole
        usage = meter.usage if meter is not None else usage_of(body) if body else None
        if usage is not None:
            self.used_prompt_tokens = usage.prompt_tokens
            cached = usage.cached_tokens
            self.knows_cached = cached is not None
            self.cached_tokens = min(cached, usage.prompt_tokens) if cached else 0
            self.completion_tokens = usage.completion_tokens or 0
            return
        num_events = max(0, meter.num_events) if meter is not None else 0
        if self.sent_at and outcome not in ("shed", "upstream_error") and (num_events or outcome != "engine_error"):
            self.estimated = True
            self.used_prompt_tokens = self.prompt_tokens
            self.completion_tokens = num_events
