"""llama.cpp through the xllamacpp wheel: its own HTTP server in a process of its own (`llamacpp_server`).

The engine answers `/health`, `/props`, `/slots` and `/metrics`; docs/design/engine.md holds what was measured of it.
"""

import sys

import msgspec

from roadbed.engine import prometheus
from roadbed.engine.base import Capability, Capacity, Endpoint, EngineFailure, LaunchRequest, LoadReport
from roadbed.engine.failure import explain
from roadbed.engine.http import get
from roadbed.engine.lora import local_path
from roadbed.errors import EngineError, UnreachableError
from roadbed.runtime.base import ProcessLimits, ProcessSpec
from roadbed.spec.service import LlamaCppEngine

READY_TIMEOUT_S = 3.0
THREAD_STACK_BYTES = 8 * 2**20


class _TemplateCaps(msgspec.Struct):
    supports_tools: bool = False


class _Settings(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    default_generation_settings: _Settings
    total_slots: int
    chat_template: str = ""
    chat_template_caps: _TemplateCaps = msgspec.field(default_factory=_TemplateCaps)


class _Slot(msgspec.Struct):
    n_ctx: int
    is_processing: bool
    n_prompt_tokens: int = 0


class LlamaCppAdapter:
    """See engine/base.py for the contract."""

    kind = "llamacpp"

    def __init__(self, spec: LlamaCppEngine) -> None:
        self._spec = spec

    def process(self, request: LaunchRequest) -> ProcessSpec:
        """Threads: the spec's if it names them, else the request's share of the node."""
        threads = self._spec.threads or request.threads
        argv = [sys.executable, "-m", "roadbed.engine.llamacpp_server"]
        argv += ["--model", request.model_path, "--alias", request.served_model, "--port", str(request.port)]
        argv += ["--context", str(self._spec.context_tokens), "--parallel", str(self._spec.parallel)]
        argv += ["--threads", str(threads), "--prompt-cache-bytes", str(self._spec.prompt_cache)]
        if self._spec.embeddings:
            argv.append("--embeddings")
        for adapter in self._spec.adapters:
            argv += ["--lora", local_path(adapter, folder=False)]
        return ProcessSpec(
            name=request.replica,
            argv=tuple(argv),
            # One busy thread too many makes every token wait for the scheduler: cap OpenMP, and let idle threads sleep.
            env={"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
            labels=request.labels,
            limits=ProcessLimits(memory_bytes=self._data_limit_bytes(request.memory_bytes)),
            stop_grace_s=5.0,
        )

    def endpoint(self, index: int, port: int) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=port)

    async def ready(self, endpoint: Endpoint) -> Capacity | None:
        """None while nothing listens or the model loads."""
        try:
            health = await get(endpoint, "/health", timeout_s=READY_TIMEOUT_S)
            if health.status == 503:
                return None
            props = await get(endpoint, "/props", timeout_s=READY_TIMEOUT_S)
        except UnreachableError:
            return None
        if health.status != 200 or props.status != 200:
            where = f"{endpoint.host}:{endpoint.port}"
            raise EngineError(
                f"{where} is not a llama.cpp server: {props.sentence()}", hint=f"ss -ltnp sport = :{endpoint.port}"
            )
        return self._capacity(props.decode(_Props))

    async def load(self, endpoint: Endpoint) -> LoadReport:
        """Between two batches the engine answers; a batch takes up to a second on a slow CPU."""
        slots = (await get(endpoint, "/slots")).decode(list[_Slot])
        samples = prometheus.parse((await get(endpoint, "/metrics")).body.decode(errors="replace"))
        running = [slot for slot in slots if slot.is_processing]
        capacity = sum(slot.n_ctx for slot in slots)
        num_tokens = prometheus.total(samples, "llamacpp:tokens_predicted_total")
        return LoadReport(
            num_running=len(running),
            num_waiting=int(prometheus.total(samples, "llamacpp:requests_deferred") or 0),
            kv_usage=min(1.0, sum(slot.n_prompt_tokens for slot in running) / capacity) if capacity else 0.0,
            num_tokens_total=None if num_tokens is None else int(num_tokens),
        )

    async def drain(self, endpoint: Endpoint) -> bool:
        """A replica that does not answer has nothing left to finish."""
        try:
            report = await self.load(endpoint)
        except UnreachableError:
            return True
        return report.num_running == 0 and report.num_waiting == 0

    def explain_exit(self, log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure:
        return explain(log_tail, exit_code, signal)

    def _capacity(self, props: _Props) -> Capacity:
        context_tokens = props.default_generation_settings.n_ctx
        capabilities: list[Capability] = ["tokenize"]
        if self._spec.adapters:
            capabilities.append("lora_by_id")
        if self._spec.embeddings:
            capabilities.append("embeddings")
        else:
            capabilities += ["completions", "json_schema", "stops_streams_only"]
            if props.chat_template:
                capabilities.append("chat")
            if props.chat_template_caps.supports_tools:
                capabilities.append("tools")
        return Capacity(
            max_concurrency=props.total_slots,
            kv_tokens=context_tokens * props.total_slots,
            context_tokens=context_tokens,
            capabilities=tuple(capabilities),
        )

    def _data_limit_bytes(self, memory_bytes: int) -> int | None:
        """RLIMIT_DATA counts the whole reserved stack of each thread, of which almost nothing is ever touched."""
        if memory_bytes <= 0:
            return None
        return memory_bytes + (num_http_threads(self._spec.parallel) + 64) * THREAD_STACK_BYTES


def num_http_threads(parallel: int) -> int:
    """The server gives every open connection a thread, idle ones for 5 s: enough for a gateway's pool of parallel + 8
    connections twice over, and for our own questions beside them."""
    return 2 * (parallel + 8) + 16
