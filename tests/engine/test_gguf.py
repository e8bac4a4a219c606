import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine.gguf import read_header
from roadbed.errors import EngineError


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*pairs: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + b"".join(pairs)


ARCH = text("general.architecture") + struct.pack("<I", 8) + text("llama")
CONTEXT = text("llama.context_length") + struct.pack("<II", 4, 8192)
POOLING = text("llama.pooling_type") + struct.pack("<II", 4, 1)
VOCAB = text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc")
SCORES = text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3)


def test_reads_scalars_and_skips_arrays(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(ARCH, VOCAB, SCORES, CONTEXT))
    header = read_header(path)
    assert (header.architecture, header.context_tokens, header.has_pooling) == ("llama", 8192, False)
    assert set(header.values) == {"general.architecture", "llama.context_length"}
    header.check_context(8192)
    with pytest.raises(EngineError, match="8193 is more than the 8192 tokens") as caught:
        header.check_context(8193)
    assert caught.value.field == "engine.context_tokens"


def test_an_embedding_model_names_its_pooling(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(gguf(ARCH, POOLING))
    header = read_header(tmp_path / "m")
    assert header.has_pooling
    assert header.context_tokens is None
    header.check_context(10**6)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"junk!", "does not begin with GGUF"),
        (b"", "does not begin with GGUF"),
        (gguf(version=9), "version 9"),
        (gguf(ARCH, VOCAB)[:-1], "ends inside its header"),
        (gguf(ARCH)[:-2], "ends inside its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "metadata entries"),
        (gguf(struct.pack("<Q", 2**40)), "a text of"),
        (gguf(text("x") + struct.pack("<IIQ", 9, 0, 2**50)), "ends inside"),
        (gguf(text("x") + struct.pack("<I", 99)), "type 99"),
        (gguf(text("x") + struct.pack("<IIQ", 9, 9, 1)), "array of type 9"),
    ],
)
def test_what_is_not_gguf_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(EngineError, match=words):
        read_header(tmp_path / "m")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"can't be read: No such file"):
        read_header(tmp_path / "none.gguf")


@given(st.integers(0, 200), st.binary(max_size=20))
def test_a_mangled_header_is_an_engine_error_or_a_header(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    data = gguf(ARCH, VOCAB, SCORES, CONTEXT)
    path = tmp_path_factory.mktemp("g") / "m"
    path.write_bytes(data[: at % len(data)] + noise + data[at % len(data) + len(noise) :])
    try:
        header = read_header(path)
    except EngineError:
        return
    assert all(isinstance(key, str) for key in header.values)
