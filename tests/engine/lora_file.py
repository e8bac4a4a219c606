"""A LoRA adapter as a GGUF file, with values enough to change what a small model says."""

import random
import struct
from pathlib import Path

_STRING, _FLOAT32, _F32 = 8, 6, 0
_ALIGNMENT = 32


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _pair(key: str, value: str | float) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", _STRING) + _text(value)
    return _text(key) + struct.pack("<If", _FLOAT32, value)


def write_lora(path: Path, *, width: int, weight: str, rank: int = 4, architecture: str = "llama") -> Path:
    """Adapts one square weight of `width`, such as blk.0.attn_output.weight; the same bytes every time."""
    chance = random.Random(7)
    tensors = [(f"{weight}.lora_a", (width, rank)), (f"{weight}.lora_b", (rank, width))]
    pairs = [
        _pair("general.type", "adapter"), _pair("general.architecture", architecture), _pair("adapter.type", "lora"),
        _pair("adapter.lora.alpha", float(rank)),
    ]  # fmt: skip
    infos, data = b"", b""
    for name, shape in tensors:
        infos += _text(name) + struct.pack("<IQQIQ", 2, *shape, _F32, len(data))
        values = [chance.gauss(0.0, 1.0) for _ in range(shape[0] * shape[1])]
        data += struct.pack(f"<{len(values)}f", *values)
        data += b"\0" * (-len(data) % _ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    path.write_bytes(head + b"\0" * (-len(head) % _ALIGNMENT) + data)
    return path
