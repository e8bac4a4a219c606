"""Any OpenAI-compatible server that somebody else runs: we start nothing and only ask.

Ready means that /v1/models answers and names the model. Load comes from vLLM-named metrics when the server publishes
them; most hosted services don't, and then the gateway's own account is all there is.
"""

import os
from urllib.parse import urlsplit

import msgspec

from roadbed.engine.base import Capacity, Endpoint, EngineFailure, LaunchRequest, LoadReport
from roadbed.engine.failure import explain
from roadbed.engine.http import Answer, get
from roadbed.engine.vllm_metrics import read_load
from roadbed.errors import EngineError, UnreachableError, UsageError
from roadbed.spec.service import OpenAIEngine

TIMEOUT_S = 10.0
IDLE = LoadReport(num_running=0, num_waiting=0, kv_usage=0.0)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class OpenAIAdapter:
    """See engine/base.py for the contract."""

    kind = "openai"

    def __init__(self, spec: OpenAIEngine) -> None:
        self._spec = spec
        self._endpoints = [parse_url(url, self._key()) for url in spec.urls]

    def process(self, request: LaunchRequest) -> None:
        """Somebody else runs it."""
        return None

    def endpoint(self, index: int, port: int) -> Endpoint:
        """One replica per URL; `port` is not used."""
        return self._endpoints[index]

    async def ready(self, endpoint: Endpoint) -> Capacity | None:
        """None while nobody answers; EngineError on a refused key or a model that is not there."""
        try:
            answer = await get(endpoint, "/v1/models", timeout_s=TIMEOUT_S)
        except UnreachableError:
            return None
        if answer.status >= 500 or answer.status == 429:
            return None
        self._check(endpoint, answer)
        return Capacity(
            max_concurrency=self._spec.max_concurrency,
            kv_tokens=self._spec.kv_tokens,
            context_tokens=self._spec.context_tokens,
            capabilities=("chat", "completions", "embeddings", "tools", "json_schema"),
        )

    async def load(self, endpoint: Endpoint) -> LoadReport:
        """Zeros when the server keeps its load to itself. Raises UnreachableError when it is gone."""
        answer = await get(endpoint, "/metrics")
        return (read_load(answer.body) if answer.status == 200 else None) or IDLE

    async def drain(self, endpoint: Endpoint) -> bool:
        """The gateway's own account says when our requests are over; others' requests are not ours to wait for."""
        return True

    def explain_exit(self, log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure:
        return explain(log_tail, exit_code, signal)

    def _check(self, endpoint: Endpoint, answer: Answer) -> None:
        where = f"{endpoint.host}:{endpoint.port}{endpoint.base_path}"
        if answer.status in (401, 403):
            variable = self._spec.api_key_env
            fix = f"export {variable}=…" if variable else "set engine.api_key_env to the variable holding the key"
            raise EngineError(f"{where} refuses the key ({answer.status}): {answer.sentence()}", hint=fix)
        if answer.status != 200:
            raise EngineError(
                f"{where}/v1/models answered {answer.status}: {answer.sentence()}", hint=f"curl -i {where}"
            )
        names = [model.id for model in answer.decode(_Models).data]
        wanted = self._spec.upstream_model
        if wanted is not None and wanted not in names:
            known = ", ".join(names[:8]) or "none"
            raise EngineError(f"{where} has no model {wanted!r}; it has {known}", field="engine.upstream_model")

    def _key(self) -> str | None:
        name = self._spec.api_key_env
        if name is None:
            return None
        key = os.environ.get(name)
        if not key:
            raise EngineError(f"environment variable {name} (engine.api_key_env) is not set", hint=f"export {name}=…")
        return key


def parse_url(url: str, api_key: str | None) -> Endpoint:
    """`https://host[:port][/prefix]`, ending before /v1. Raises UsageError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"engine.urls: {url!r} is not a URL: {error}", field="engine.urls") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(f"engine.urls: {url!r} must look like https://host:port/prefix", field="engine.urls")
    base_path = parts.path.rstrip("/")
    if base_path.endswith("/v1"):
        raise UsageError(f"engine.urls: {url!r} must end before /v1", hint=url.rstrip("/")[:-3], field="engine.urls")
    tls = parts.scheme == "https"
    return Endpoint(
        host=parts.hostname, port=port or (443 if tls else 80), tls=tls, base_path=base_path, api_key=api_key
    )
