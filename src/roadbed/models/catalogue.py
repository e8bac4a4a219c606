"""Models known by name: where they come from, what they must hash to, their shape and their licence.

The data is catalogue.json beside this file. Entries without sha256 are not pinned: their source may serve other bytes
tomorrow, so what was pulled is recorded in the store by digest all the same.
"""

import difflib
import functools
from importlib.resources import files
from typing import Literal

import msgspec

from roadbed.errors import NotFoundError
from roadbed.models.sources import Source, parse

DEFAULT_MODEL = "smollm2-135m-instruct"


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decoder-only transformer with grouped-query attention."""

    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    ffn: int
    vocab: int
    tied_embeddings: bool
    """Input and output embedding are one matrix."""

    @property
    def head_dim(self) -> int:
        return self.hidden // self.num_heads

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in 16 bits."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * 2


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    source: str
    mirrors: tuple[str, ...] = ()
    """The same model elsewhere, for those who reach that better."""
    sha256: str | None = None
    size_bytes: int | None = None
    format: Literal["gguf", "safetensors"]
    quantization: str | None = None
    engines: tuple[Literal["llamacpp", "vllm"], ...]
    context_tokens: int
    num_parameters: int
    """Nominal."""
    instruct: bool
    license: str
    """SPDX identifier, or LicenseRef- and the licence's name."""
    architecture: Architecture


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All entries, in the file's order (default first)."""
    data = files("roadbed.models").joinpath("catalogue.json").read_bytes()
    return tuple(msgspec.json.decode(data, type=list[Entry]))


def find(name: str) -> Entry:
    """Raises NotFoundError with the nearest names."""
    by_name = {entry.name: entry for entry in entries()}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name.lower(), by_name, n=3, cutoff=0.5)
    guess = f"; did you mean {', '.join(near)}?" if near else ""
    raise NotFoundError(f"no model named {name[:100]!r} in the catalogue{guess}", hint="roadbed models", field="model")


def resolve(text: str) -> Source:
    """The source of a catalogue name or of a source's own text. Raises NotFoundError, UsageError."""
    return parse(text if ":" in text else find(text).source)


def expected_sha256(text: str) -> str | None:
    """What a catalogue name is pinned to; None for unpinned entries and for sources the user wrote."""
    if ":" not in text:
        return find(text).sha256
    canonical = str(parse(text))
    return next((entry.sha256 for entry in entries() if canonical == entry.source), None)
