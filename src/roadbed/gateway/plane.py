"""The data plane of one worker: every request enters in `handle` and leaves in `settle`.

It owns the tables (what the control plane said), the routers, the account, the ledger and the metrics, and nothing
else: sockets belong to `wire`, the life of one request to `Exchange`. All of it runs on one event loop, without tasks
or locks on the way of a request.
"""

import asyncio
import logging
import secrets
from pathlib import Path
from time import monotonic, time
from typing import Final

from xxhash import xxh3_64_intdigest

from roadbed.errors import RuntimeFailure
from roadbed.gateway import routes
from roadbed.gateway.access import Caller
from roadbed.gateway.account import Account, Denied
from roadbed.gateway.exchange import Exchange
from roadbed.gateway.ledger.record import Begin, End
from roadbed.gateway.ledger.writer import Ledger
from roadbed.gateway.metrics import Metrics
from roadbed.gateway.openai import bodies
from roadbed.gateway.openai.bodies import EndpointName, Parsed
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.openai.schema import RAW_NONE
from roadbed.gateway.snapshot import ListenEntry, ServiceEntry, Snapshot
from roadbed.gateway.tables import Service, Tables
from roadbed.gateway.traffic import TrafficLog
from roadbed.gateway.wire.server import Handler, Request, ServerConnection, WireLimits
from roadbed.router.base import Decision, Features
from roadbed.router.blocks import chain
from roadbed.router.limits import MINUTE_NS
from roadbed.router.traffic import Seen, coarse

log = logging.getLogger(__name__)

MIN_BYTES_PER_TOKEN: Final = 8
"""No tokenizer in use averages more bytes per token over a whole prompt: beyond this a prompt cannot fit."""
_PARSERS: Final = {
    "chat": bodies.parse_chat,
    "completions": bodies.parse_completion,
    "embeddings": bodies.parse_embedding,
}
_ENDPOINTS: Final[dict[bytes, EndpointName]] = {
    b"/v1/chat/completions": "chat",
    b"/v1/completions": "completions",
    b"/v1/embeddings": "embeddings",
}
MAX_HELD_BYTES: Final = 512 * 2**20
"""Of request bodies that wait in one worker, whatever the queues allow."""
_TIERS: Final = {"priority": 2, "flex": -2}


class Plane:
    """Everything one worker needs to answer requests (the wire's App)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        listen: ListenEntry,
        account: Account,
        ledger: Ledger,
        run_dir: Path,
        worker: int,
        traffic: TrafficLog,
    ) -> None:
        self.loop = loop
        self.worker = worker
        self.run_dir = run_dir
        self.limits = WireLimits(
            listen.max_connections,
            listen.max_header_bytes,
            listen.max_body_bytes,
            listen.header_timeout_s,
            listen.body_timeout_s,
            listen.idle_timeout_s,
            listen.write_timeout_s,
        )
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.held_bytes = 0
        self.max_held_bytes = MAX_HELD_BYTES
        self.account = account
        self.ledger = ledger
        self.traffic = traffic
        self.metrics = Metrics()
        self.tables = Tables(loop, account, listen, self.metrics, seed=worker)
        self.exchanges: dict[str, Exchange] = {}
        self._boot = secrets.token_hex(6)
        self._count = 10_000_000

    # ── in ────────────────────────────────────────────────────────────────────────────────────────

    def handle(self, request: Request, connection: ServerConnection) -> Handler | None:
        """Answers one request, now or later."""
        try:
            endpoint = _ENDPOINTS.get(request.target)
            if endpoint is None or request.method != b"POST":
                return routes.handle(self, request, connection)
            return self._infer(request, connection, endpoint)
        except ApiError as error:
            self.respond_error(connection, request, error)
        except Exception:
            log.exception("a request failed inside the gateway")
            opened = [e for e in self.exchanges.values() if e.connection is connection]
            for exchange in opened:
                exchange.fail()
            if connection.busy and not opened:
                self.respond_error(connection, request, ApiError(500, "internal_error", "The gateway failed."))
        return None

    def _infer(self, request: Request, connection: ServerConnection, endpoint: EndpointName) -> Handler | None:
        headers = request.headers
        caller = self.tables.callers.authenticate(headers.get(b"authorization"), "inference")
        parsed = _PARSERS[endpoint](request.body)
        service = self.service_for(parsed.model, caller, endpoint)
        if parsed.prefix is not RAW_NONE and service.capabilities and "tools" not in service.capabilities:
            raise ApiError(
                400, "tools_unsupported", f"The chat template of '{parsed.model}' knows no tools.", param="tools"
            )
        router = service.router
        num_bytes = len(parsed.prompt) + len(parsed.prefix)
        prompt_tokens = router.prompt_tokens(num_bytes)
        if service.context_tokens and num_bytes > service.context_tokens * MIN_BYTES_PER_TOKEN:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"This prompt of {num_bytes} bytes cannot fit the model's context of {service.context_tokens} tokens.",
                param="input" if endpoint == "embeddings" else "prompt" if endpoint == "completions" else "messages",
            )
        output_tokens = router.output_tokens(parsed.max_tokens) * parsed.num_choices
        features = self._features(request, parsed, service, caller, prompt_tokens, output_tokens, num_bytes)
        request_id = features.request_id
        exchange = Exchange(self, connection, request, endpoint, caller, service, parsed, request_id, prompt_tokens)
        if caller.limited:
            self._reserve(caller, exchange, prompt_tokens + output_tokens)
        self._open(exchange)
        exchange.features = features
        exchange.decide(router.arrive(features, monotonic()))
        return exchange

    def service_for(self, model: str, caller: Caller, capability: str = "") -> Service:
        """The service of a model name. Raises ApiError 404 (unknown), 403 (not for this key) or 400 (cannot do it)."""
        service = self.tables.models.get(model)
        if service is None:
            raise ApiError(
                404, "model_not_found", f"The model '{model}' does not exist. GET /v1/models lists them.", param="model"
            )
        if caller.models and model not in caller.models:
            raise ApiError(403, "model_not_allowed", f"This API key may not use the model '{model}'.", param="model")
        if capability and service.capabilities and capability not in service.capabilities:
            raise ApiError(
                400, "unsupported_endpoint", f"The model '{model}' does not support this endpoint.", param="model"
            )
        return service

    def _reserve(self, caller: Caller, exchange: Exchange, num_tokens: int) -> None:
        denied = self.account.reserve(caller.limits, time(), tokens=num_tokens)
        if denied is not None:
            self.metrics.limited.add((denied.reason, denied.owner))
            state = self.account.rate_state(caller.limits, time())
            error = limit_error(denied)
            error.extra = _limit_lines(
                state.limit_requests or 0,
                state.remaining_requests,
                int(state.reset_requests_s * 1e9),
                state.limit_tokens or 0,
                state.remaining_tokens,
                int(state.reset_tokens_s * 1e9),
            ).encode()
            raise error
        exchange.reserved_tokens = num_tokens

    def _open(self, exchange: Exchange) -> None:
        """Writes the request down before any engine sees it. Raises ApiError 503 when that is impossible."""
        caller = exchange.caller
        key = caller.key
        begin = Begin(
            exchange.request_id,
            time(),
            key.id,
            key.tenant,
            # by whatever name it was asked for, but an adapter is a model of its own
            exchange.parsed.model if exchange.parsed.model in self.tables.adapters else exchange.service.canonical,
            exchange.service.name,
            exchange.endpoint,
            exchange.prompt_tokens,
        )
        try:
            self.ledger.begin(begin)
        except RuntimeFailure:
            log.exception("the usage ledger cannot be written; refusing requests")
            if caller.limited:
                reserved = exchange.reserved_tokens
                self.account.settle(caller.limits, begin.at, reserved_tokens=reserved, actual_tokens=0)
            raise ApiError(503, "ledger_unavailable", "Usage cannot be recorded now.", retry_after_s=5.0) from None
        self.exchanges[exchange.request_id] = exchange

    def _features(
        self,
        request: Request,
        parsed: Parsed,
        service: Service,
        caller: Caller,
        prompt_tokens: int,
        output_tokens: int,
        num_bytes: int,
    ) -> Features:
        """What the router is told. Raises ApiError 400 on a header that is not what it should be."""
        headers, router = request.headers, service.router
        seed = self.tables.seeds[parsed.model]
        if parsed.prefix is not RAW_NONE:
            seed = xxh3_64_intdigest(parsed.prefix, seed)
        return Features(
            request_id=self.next_id(),
            blocks=chain(bytes(parsed.prompt), seed, router.block_bytes),
            block_tokens=router.block_tokens,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            priority=_priority(headers, parsed, service.priority),
            session=_session(headers, parsed, caller),
            slo_ttft_s=_milliseconds(headers, b"x-slo-ttft-ms", service.slo_ttft_s),
            slo_tpot_s=_milliseconds(headers, b"x-slo-tpot-ms", service.slo_tpot_s),
            prompt_bytes=num_bytes,
            stream=parsed.stream,
            adapter=parsed.model if parsed.model in self.tables.adapters else "",
        )

    # ── out ───────────────────────────────────────────────────────────────────────────────────────

    def settle(self, exchange: Exchange) -> None:
        """A request is over: ledger, limits, router and metrics, together and once."""
        now, wall = monotonic(), time()
        caller, service, request_id = exchange.caller, exchange.service, exchange.request_id
        prompt, cached, completion = exchange.used_prompt_tokens, exchange.cached_tokens, exchange.completion_tokens
        cost_pico = (
            (prompt - cached) * service.input_pico + cached * service.cached_pico + completion * service.output_pico
        )
        received = exchange.request.received_at
        ttft_s = exchange.first_at - received if exchange.first_at and exchange.parsed.stream else 0.0
        total_s = now - received
        overhead_s = exchange.overhead_s()
        self.ledger.end(
            End(
                request_id, wall, exchange.outcome, exchange.status, exchange.replica_id, exchange.num_tries,
                prompt, cached, completion, exchange.estimated, ttft_s, total_s, overhead_s, exchange.route, cost_pico,
                exchange.predicted_s + exchange.waited_s if exchange.predicted_s else 0.0,
            )
        )  # fmt: skip
        self.exchanges.pop(request_id, None)
        if caller.limited:
            self.account.settle(
                caller.limits, wall, reserved_tokens=exchange.reserved_tokens, actual_tokens=prompt + completion,
                cost_pico=cost_pico,
            )  # fmt: skip
        self._measure(exchange, ttft_s, total_s, overhead_s)
        if self.traffic.on and exchange.features is not None and prompt:
            self._remember(exchange, exchange.features, wall - total_s, total_s)
        decisions = service.router.finish(
            request_id,
            now,
            outcome_ok=exchange.outcome == "ok",
            prompt_tokens=0 if exchange.estimated else prompt,
            cached_tokens=cached if exchange.knows_cached else None,
            completion_tokens=completion,
        )
        if decisions:
            self.carry_out(decisions)

    def carry_out(self, decisions: list[Decision]) -> None:
        """Decisions about waiting requests."""
        for decision in decisions:
            exchange = self.exchanges.get(decision.request_id)
            if exchange is not None:
                exchange.decide(decision)

    def _measure(self, exchange: Exchange, ttft_s: float, total_s: float, overhead_s: float) -> None:
        tally, endpoint = exchange.service.tally, exchange.endpoint
        tally.settled(
            overhead_s, total_s, exchange.used_prompt_tokens, exchange.cached_tokens, exchange.completion_tokens
        )
        if exchange.outcome == "ok":
            tally.answered[endpoint] = tally.answered.get(endpoint, 0) + 1
            if not ttft_s and not exchange.waited_s:
                return
        metrics, name = self.metrics, exchange.service.name
        if exchange.outcome != "ok":
            metrics.requests.add((name, endpoint, exchange.status))
            metrics.outcomes.add((name, exchange.outcome))
        if exchange.waited_s:
            metrics.queue.observe((name,), exchange.waited_s)
        if ttft_s:
            metrics.ttft.observe((name,), ttft_s)
            if exchange.predicted_s:
                metrics.ttft_predicted.observe((name,), exchange.predicted_s)
                metrics.ttft_error.observe((name,), (exchange.first_at - exchange.sent_at) / exchange.predicted_s)
            if exchange.completion_tokens > 1:
                metrics.tpot.observe((name,), (total_s - ttft_s) / (exchange.completion_tokens - 1))

    def _remember(self, exchange: Exchange, features: Features, at: float, total_s: float) -> None:
        """A line of the traffic log."""
        blocks, block_tokens = coarse(features.blocks, features.block_tokens)
        streamed = bool(exchange.first_at) and exchange.parsed.stream
        self.traffic.add(
            Seen(
                at=at,
                service=exchange.service.name,
                model=exchange.service.canonical,
                prompt_tokens=exchange.used_prompt_tokens,
                cached_tokens=exchange.cached_tokens,
                output_tokens=exchange.completion_tokens,
                block_tokens=block_tokens,
                blocks=blocks,
                priority=features.priority,
                session=xxh3_64_intdigest(features.session.encode()) >> 11 if features.session is not None else 0,
                stream=exchange.parsed.stream,
                replica=exchange.replica_id,
                route=exchange.route,
                predicted_ttft_s=exchange.predicted_s,
                ttft_s=exchange.first_at - exchange.sent_at if streamed else 0.0,
                waited_s=exchange.waited_s,
                total_s=total_s,
                outcome=exchange.outcome,
            )
        )

    def respond_error(self, connection: ServerConnection, request: Request, error: ApiError) -> None:
        """Refuses a request that never became an exchange."""
        self.metrics.requests.add(("", _ENDPOINTS.get(request.target, "other"), error.status))
        connection.respond(
            error.status, error.headers() + b"x-request-id: %b\r\n" % self.next_id().encode(), error.body()
        )

    def refuse(self, connection: ServerConnection, status: int, code: str, message: str) -> bytes:
        """Body for bytes that are no acceptable request."""
        self.metrics.requests.add(("", "malformed", status))
        return ApiError(status, code, message).body()

    def next_id(self) -> str:
        """A request id, unique across workers and restarts, of one length for the first ninety million."""
        self._count += 1
        return f"req_{self._boot}{self._count}"

    def limit_headers(self, caller: Caller) -> str:
        """x-ratelimit-* lines: the tightest of key and tenant, as the last reservation left them."""
        requests, tokens = 0, 0
        requests_left, requests_ns, tokens_left, tokens_ns = 0, 0, 0, 0
        for view in caller.limits:
            if view.requests_per_minute:
                left = (MINUTE_NS - view.requests_ahead_ns) * view.requests_rate // view.requests_per_ns
                if not requests or left < requests_left:
                    requests, requests_left, requests_ns = view.requests_per_minute, left, view.requests_ahead_ns
            if view.tokens_per_minute:
                left = (MINUTE_NS - view.tokens_ahead_ns) * view.tokens_rate // view.tokens_per_ns
                if not tokens or left < tokens_left:
                    tokens, tokens_left, tokens_ns = view.tokens_per_minute, left, view.tokens_ahead_ns
        return _limit_lines(requests, requests_left, requests_ns, tokens, tokens_left, tokens_ns)

    # ── what the control plane says ───────────────────────────────────────────────────────────────

    def apply(self, snapshot: Snapshot) -> None:
        """Swaps in a snapshot. Requests at a replica that is no longer in it go elsewhere while they can."""
        before = {replica.id for entry in self._entries() for replica in entry.replicas}
        self.tables.apply(snapshot, monotonic())
        left = before - {replica.id for entry in self._entries() for replica in entry.replicas}
        if left:
            for exchange in [e for e in self.exchanges.values() if e.replica_id in left]:
                exchange.leave()

    def _entries(self) -> list[ServiceEntry]:
        return [service.entry for service in self.tables.services.values()]

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    def tick(self) -> None:
        """Every 50 ms, more often while requests wait: deadlines and capacity freed by other workers. Whoever scales a
        service reads in the account how many wait for it."""
        now = monotonic()
        for service in self.tables.ticking():
            decisions = service.router.tick(now)
            if decisions:
                self.carry_out(decisions)
            if service.prefill is not None:
                service.prefill.tick(now)
        for service in self.tables.services.values():
            slot, num_waiting = service.entry.slot, service.router.num_waiting
            if slot >= 0 and num_waiting != service.num_told:
                self.account.write(slot, num_waiting, 0, 0, 0)
                service.num_told = num_waiting

    def sweep(self) -> None:
        """Once a second: deadlines of connections, stalled engines, gauges, saved metrics."""
        now = monotonic()
        for connection in list(self.connections):
            connection.sweep(now)
        self.tables.sweep(now)
        metrics = self.metrics
        metrics.connections[()] = len(self.connections)
        metrics.open_requests[()] = len(self.exchanges)
        metrics.inflight.clear()
        metrics.queued.clear()
        metrics.replicas_ready.clear()
        metrics.replicas_desired.clear()
        for name, service in self.tables.services.items():
            metrics.queued[(name,)] = service.router.num_waiting
            if self.worker == 0:  # what workers save is added up, and all of them know the same replicas
                metrics.replicas_ready[(name,)] = service.num_open
                metrics.replicas_desired[(name,)] = service.entry.num_desired
            for replica in service.router.replicas:
                metrics.inflight[name, replica.info.id] = replica.own_requests
        metrics.save(self.run_dir / f"metrics-{self.worker}.json")


def _limit_lines(
    requests: int, requests_left: int, requests_ns: int, tokens: int, tokens_left: int, tokens_ns: int
) -> str:
    """Header lines of the ceilings there are (0 = none): the limit, what is left, and how long until it is whole."""
    lines = ""
    if requests:
        lines = (
            f"x-ratelimit-limit-requests: {requests}\r\nx-ratelimit-remaining-requests: {requests_left}\r\n"
            f"x-ratelimit-reset-requests: {requests_ns // 1_000_000}ms\r\n"
        )
    if tokens:
        lines += (
            f"x-ratelimit-limit-tokens: {tokens}\r\nx-ratelimit-remaining-tokens: {tokens_left}\r\n"
            f"x-ratelimit-reset-tokens: {tokens_ns // 1_000_000}ms\r\n"
        )
    return lines


def limit_error(denied: Denied) -> ApiError:
    """A refused reservation, in words."""
    if denied.reason == "budget":
        message = f"The monthly budget of this {denied.owner} is used up."
        return ApiError(429, "insufficient_quota", message, error_type="insufficient_quota")
    unit = {"requests": "requests per minute", "tokens": "tokens per minute", "concurrency": "concurrent requests"}
    message = f"Rate limit reached for this {denied.owner}: {denied.limit} {unit[denied.reason]}."
    if denied.too_large:
        return ApiError(429, "request_too_large", f"{message} This request alone needs more; it will never fit.")
    return ApiError(429, "rate_limit_exceeded", message, retry_after_s=denied.retry_after_s or 1.0)


def _priority(headers: dict[bytes, bytes], parsed: Parsed, default: int) -> int:
    """The router's level, 1 first. What people write is the other way round, 9 first, as everywhere in Roadbed."""
    text = headers.get(b"x-roadbed-priority")
    if text is None:
        shift = _TIERS.get(parsed.service_tier, 0) if parsed.service_tier is not None else 0
        return 10 - min(9, max(1, default + shift))
    if not text.isdigit() or not 1 <= int(text[:2]) <= 9:
        raise ApiError(400, "invalid_header", "'x-roadbed-priority' must be 1 (last) to 9 (first).")
    return 10 - int(text)


def _session(headers: dict[bytes, bytes], parsed: Parsed, caller: Caller) -> str | None:
    """A session's name, kept apart by tenant."""
    text = headers.get(b"x-session-id")
    name = text[:128].decode("latin-1") if text else parsed.session
    return f"{caller.key.tenant}/{name[:128]}" if name else None


def _milliseconds(headers: dict[bytes, bytes], name: bytes, default_s: float | None) -> float | None:
    text = headers.get(name)
    if text is None:
        return default_s
    try:
        value_ms = float(text)
    except ValueError:
        value_ms = -1.0
    if not 0 < value_ms < 1e9:
        raise ApiError(400, "invalid_header", f"'{name.decode()}' must be a positive number of milliseconds.")
    return value_ms / 1000
