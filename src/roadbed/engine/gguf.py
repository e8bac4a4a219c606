"""Reads the header of a GGUF file: enough to refuse a bad model before llama.cpp spends minutes on it.

Format: magic, version, counts, then typed key-value pairs (github.com/ggml-org/ggml, docs/gguf.md). Only scalars are
kept; arrays (vocabularies) are skipped. Every length is checked against the file, so a crafted header can't make us
read or allocate beyond it.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

from roadbed.errors import EngineError

MAX_PAIRS = 65_536
MAX_TEXT_BYTES = 2**20
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9


class GgufHeader(msgspec.Struct, frozen=True):
    """Scalar metadata by key."""

    path: str
    version: int
    num_tensors: int
    values: dict[str, int | float | bool | str]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def context_tokens(self) -> int | None:
        """What the model was trained for."""
        value = self.values.get(f"{self.architecture}.context_length")
        return value if isinstance(value, int) else None

    @property
    def has_pooling(self) -> bool:
        """An embedding model names how token vectors become one."""
        return f"{self.architecture}.pooling_type" in self.values

    def check_context(self, context_tokens: int) -> None:
        """Raises EngineError when a slot would be longer than anything the model has seen."""
        trained = self.context_tokens
        if trained is not None and context_tokens > trained:
            raise EngineError(
                f"engine.context_tokens {context_tokens} is more than the {trained} tokens this model was trained for",
                hint=f"set engine.context_tokens to {trained} or less",
                field="engine.context_tokens",
            )


def read_header(path: Path) -> GgufHeader:
    """Raises EngineError when the file is missing, is not GGUF, or ends inside its header."""
    try:
        with path.open("rb") as file:
            return _Reader(file, path).header()
    except OSError as error:
        raise EngineError(f"model file {path} can't be read: {error.strerror}", hint=f"ls -l {path}") from error
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise EngineError(
            f"model file {path} is not a GGUF file llama.cpp can read: {error}", hint=f"file {path}"
        ) from error


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size_bytes = path.stat().st_size

    def header(self) -> GgufHeader:
        if self._file.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, num_tensors, num_pairs = int(self._scalar("<I")), int(self._scalar("<Q")), int(self._scalar("<Q"))
        if version not in (2, 3):
            raise ValueError(f"version {version} is unknown")
        if num_pairs > MAX_PAIRS:
            raise ValueError(f"{num_pairs} metadata entries")
        values: dict[str, int | float | bool | str] = {}
        for _ in range(num_pairs):
            key = self._text()
            value = self._value(int(self._scalar("<I")))
            if value is not None:
                values[key] = value
        return GgufHeader(str(self._path), version, num_tensors, values)

    def _scalar(self, form: str) -> int | float | bool:
        number: int | float | bool = struct.unpack(form, self._file.read(struct.calcsize(form)))[0]
        return number

    def _text(self) -> str:
        length = int(self._scalar("<Q"))
        if length > MAX_TEXT_BYTES:
            raise ValueError(f"a text of {length} bytes")
        data = self._file.read(length)
        if len(data) != length:
            raise ValueError("it ends inside its header")
        return data.decode()

    def _value(self, kind: int) -> int | float | bool | str | None:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            raise ValueError(f"metadata type {kind} is unknown")
        self._skip_array()
        return None

    def _skip_array(self) -> None:
        kind, length = int(self._scalar("<I")), int(self._scalar("<Q"))
        if kind in _SCALARS:
            self._skip(length * struct.calcsize(_SCALARS[kind]))
        elif kind == _TEXT:
            for _ in range(length):
                self._skip(int(self._scalar("<Q")))
        else:
            raise ValueError(f"an array of type {kind}")

    def _skip(self, num_bytes: int) -> None:
        if self._file.tell() + num_bytes > self._size_bytes:
            raise ValueError("it ends inside its header")
        self._file.seek(num_bytes, 1)
