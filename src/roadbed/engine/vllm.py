"""vLLM: `vllm serve` from an interpreter of the user's, asked over its OpenAI API and Prometheus page.

vLLM is not a dependency: it lives in its own environment (`engine.python`), so its CUDA and torch never meet ours.
"""

import shutil
import subprocess

import msgspec

from roadbed.engine.base import Capacity, Endpoint, EngineFailure, LaunchRequest, LoadReport
from roadbed.engine.failure import explain
from roadbed.engine.http import get
from roadbed.engine.lora import hub_or_path
from roadbed.engine.vllm_metrics import read_kv_tokens, read_load
from roadbed.errors import EngineError, UnreachableError
from roadbed.runtime.base import ProcessSpec
from roadbed.spec.service import VllmEngine

READY_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 60.0
DEFAULT_MAX_NUM_SEQS = 256
OWNED_ARGS = ("--host", "--port", "--served-model-name", "--kv-events-config")
"""Set by us; naming them again in engine.args is an error, not a silent override."""
LORA_ARGS = ("--enable-lora", "--lora-modules", "--max-loras")
KV_ARGS = ("--kv-transfer-config",)
"""Ours where engine.adapters or engine.kv_transfer say the same."""
EVENTS_PORT_OFFSET = 10_000
SIDE_CHANNEL_PORT_OFFSET = 20_000
"""NIXL's handshake needs a port per replica on a machine (VLLM_NIXL_SIDE_CHANNEL_PORT)."""


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class VllmAdapter:
    """See engine/base.py for the contract."""

    kind = "vllm"

    def __init__(self, spec: VllmEngine) -> None:
        self._spec = spec
        owned = OWNED_ARGS + (LORA_ARGS if spec.adapters else ()) + (KV_ARGS if spec.kv_transfer else ())
        taken = [arg for arg in spec.args if arg.split("=", 1)[0] in owned]
        if taken:
            raise EngineError(f"engine.args: {taken[0]} is set by Roadbed; remove it", field="engine.args")

    def process(self, request: LaunchRequest) -> ProcessSpec:
        """Raises EngineError when the interpreter or its vLLM is missing (asked once, without importing vLLM)."""
        interpreter = find_interpreter(self._spec.python)
        argv = [interpreter, "-m", "vllm.entrypoints.cli.main", "serve", request.model_path]
        argv += ["--host", "127.0.0.1", "--port", str(request.port), "--served-model-name", request.served_model]
        if self._spec.kv_events:
            argv += ["--kv-events-config", msgspec.json.encode(events_config(request.port)).decode()]
        if self._spec.adapters:
            argv += ["--enable-lora", "--max-loras", str(self._spec.adapter_places), "--lora-modules"]
            argv += [f"{adapter.name}={hub_or_path(adapter)}" for adapter in self._spec.adapters]
        env = {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": str(request.threads)}
        if self._spec.kv_transfer is not None:
            argv += ["--kv-transfer-config", msgspec.json.encode(self._spec.kv_transfer).decode()]
            env["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(side_channel_port_of(request.port))
        argv += self._spec.args
        return ProcessSpec(
            name=request.replica,
            argv=tuple(argv),
            env={**env, **self._spec.env},
            labels=request.labels,
            stop_grace_s=30.0,
        )

    def endpoint(self, index: int, port: int) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=port)

    async def ready(self, endpoint: Endpoint) -> Capacity | None:
        """None while it loads. /health answers only once the engine core runs."""
        try:
            if (await get(endpoint, "/health", timeout_s=READY_TIMEOUT_S)).status != 200:
                return None
            answer = await get(endpoint, "/v1/models", timeout_s=READY_TIMEOUT_S)
            page = await get(endpoint, "/metrics", timeout_s=READY_TIMEOUT_S)
        except UnreachableError:
            return None
        if answer.status != 200:
            raise EngineError(f"vLLM on port {endpoint.port} answered {answer.status}: {answer.sentence()}")
        models = answer.decode(_Models).data
        context_tokens = (models[0].max_model_len if models else None) or 4096
        max_concurrency = self._max_num_seqs()
        return Capacity(
            max_concurrency=max_concurrency,
            kv_tokens=read_kv_tokens(page.body) or context_tokens * 8,
            context_tokens=context_tokens,
            capabilities=("chat", "completions", "embeddings", "tools", "json_schema", "tokenize"),
        )

    async def load(self, endpoint: Endpoint) -> LoadReport:
        answer = await get(endpoint, "/metrics")
        report = read_load(answer.body) if answer.status == 200 else None
        if report is None:
            raise EngineError(f"port {endpoint.port} does not publish vLLM's metrics", hint="roadbed logs NAME")
        return report

    async def drain(self, endpoint: Endpoint) -> bool:
        """A replica that does not answer has nothing left to finish."""
        try:
            report = await self.load(endpoint)
        except UnreachableError:
            return True
        return report.num_running == 0 and report.num_waiting == 0

    def explain_exit(self, log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure:
        return explain(log_tail, exit_code, signal)

    def _max_num_seqs(self) -> int:
        args = self._spec.args
        for index, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            if name == "--max-num-seqs":
                text = value if equals else (args[index + 1] if index + 1 < len(args) else "")
                if text.isdecimal() and int(text) > 0:
                    return int(text)
                raise EngineError(f"engine.args: --max-num-seqs needs a count, not {text!r}", field="engine.args")
        return DEFAULT_MAX_NUM_SEQS


def events_config(port: int) -> dict[str, str | bool]:
    """vLLM publishes KV-cache events on a port derived from its own, so no second port has to be handed out."""
    events_port = events_port_of(port)
    return {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://127.0.0.1:{events_port}",
        "topic": "kv",
    }


def events_port_of(port: int) -> int:
    return port + EVENTS_PORT_OFFSET if port + EVENTS_PORT_OFFSET <= 65535 else port - EVENTS_PORT_OFFSET


def side_channel_port_of(port: int) -> int:
    """Derived like the port of cache events, elsewhere."""
    return (
        port + SIDE_CHANNEL_PORT_OFFSET if port + SIDE_CHANNEL_PORT_OFFSET <= 65535 else port - SIDE_CHANNEL_PORT_OFFSET
    )


def find_interpreter(python: str) -> str:
    """The absolute interpreter, checked to have vLLM. Raises EngineError."""
    found = shutil.which(python)
    if found is None:
        raise EngineError(
            f"engine.python {python!r} is not an interpreter on this machine",
            hint=f"ls -l {python}",
            field="engine.python",
        )
    probe = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('vllm') else 3)"
    try:
        code = subprocess.run(
            [found, "-c", probe], capture_output=True, timeout=PROBE_TIMEOUT_S, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"engine.python {found} does not run: {error}", field="engine.python") from error
    if code == 3:
        raise EngineError(f"{found} has no vLLM", hint=f"{found} -m pip install vllm", field="engine.python")
    if code != 0:
        raise EngineError(
            f"engine.python {found} is not a Python interpreter (exit code {code})", field="engine.python"
        )
    return found
