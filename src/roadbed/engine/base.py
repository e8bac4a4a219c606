"""What Roadbed needs of an inference engine, whoever makes it.

An adapter is pure description plus a few HTTP questions: it says how to start the engine, whether it is ready, how
loaded it is, and what its last words meant. It does not run processes (runtime does) nor move requests (gateway does).
"""

from typing import Literal, Protocol

import msgspec

from roadbed.runtime.base import ProcessSpec

Capability = Literal[
    "chat", "completions", "embeddings", "tools", "json_schema", "tokenize", "stops_streams_only", "lora_by_id"
]
"""lora_by_id: an adapter is chosen by its place in the list instead of as a model.
stops_streams_only is a habit rather than an ability: a client that leaves is noticed only while streamed to, so
the gateway asks such an engine for streams and puts whole answers together itself."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica answers."""

    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    """Prefix before /v1, such as /compatible-mode."""
    api_key: str | None = None


class LaunchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All an adapter may use to describe the process of one replica."""

    replica: str
    """Process name, such as service-chat-0."""
    served_model: str
    model_path: str
    port: int
    threads: int
    memory_bytes: int
    labels: dict[str, str] = {}


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a ready replica can hold."""

    max_concurrency: int
    kv_tokens: int
    context_tokens: int
    capabilities: tuple[Capability, ...]


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own account of itself at one moment."""

    num_running: int
    num_waiting: int
    kv_usage: float
    """0..1"""
    num_tokens_total: int | None = None
    """Tokens generated since start."""


class EngineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An exit explained: the child's first real error in one line, and what to do."""

    reason: Literal["oom", "port", "model", "missing", "driver", "arch", "killed", "unknown"]
    message: str
    hint: str


class EngineAdapter(Protocol):
    """One per engine kind; built from the service's engine spec by `engine.create(spec)`."""

    kind: str

    def process(self, request: LaunchRequest) -> ProcessSpec | None:
        """The process to run, or None when someone else runs the engine. Raises EngineError if it can't be run here."""
        ...

    def endpoint(self, index: int, port: int) -> Endpoint: ...

    async def ready(self, endpoint: Endpoint) -> Capacity | None:
        """Capacity once the engine answers, None while it loads. Raises EngineError if it never will."""
        ...

    async def load(self, endpoint: Endpoint) -> LoadReport: ...

    async def drain(self, endpoint: Endpoint) -> bool:
        """True when no request runs any more (the gateway has stopped sending)."""
        ...

    def explain_exit(self, log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure: ...
