"""Where an engine finds the adapters of its spec."""

from pathlib import Path

from roadbed.errors import EngineError
from roadbed.spec.service import Adapter


def local_path(adapter: Adapter, *, folder: bool) -> str:
    """The absolute path of an adapter on this machine. EngineError where there is none, or something else is there."""
    source = adapter.source.removeprefix("file:")
    path = Path(source).expanduser()
    if path.is_dir() if folder else path.is_file():
        return str(path.resolve())
    kind = "folder with adapter_config.json" if folder else "GGUF file"
    raise EngineError(
        f"engine.adapters: {adapter.name}: there is no {kind} at {source}",
        hint=f"ls -l {source}",
        field="engine.adapters",
    )


def hub_or_path(adapter: Adapter) -> str:
    """What vLLM takes: `org/name` for hf:…, which it fetches itself, else the folder."""
    if adapter.source.startswith("hf:"):
        return adapter.source.removeprefix("hf:")
    return local_path(adapter, folder=True)
