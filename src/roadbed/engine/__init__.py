"""Adapters to real inference engines. `create(spec)` is the only door: it imports the one adapter that is asked for."""

from importlib import import_module

from roadbed.engine.base import EngineAdapter
from roadbed.errors import UsageError
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, VllmEngine

_ADAPTERS: dict[str, tuple[str, str]] = {
    "llamacpp": ("roadbed.engine.llamacpp", "LlamaCppAdapter"),
    "vllm": ("roadbed.engine.vllm", "VllmAdapter"),
    "openai": ("roadbed.engine.openai", "OpenAIAdapter"),
}


def create(spec: LlamaCppEngine | VllmEngine | OpenAIEngine) -> EngineAdapter:
    """The adapter of a service's engine spec. Raises UsageError for a kind nobody wrote."""
    try:
        module, name = _ADAPTERS[spec.kind]
    except KeyError:
        raise UsageError(f"engine {spec.kind!r} is unknown; there are {', '.join(_ADAPTERS)}", field="engine") from None
    adapter: EngineAdapter = getattr(import_module(module), name)(spec)
    return adapter


__all__ = ["create"]
