import socket
import sys
from pathlib import Path

import pytest

from roadbed.engine.llamacpp import num_http_threads
from roadbed.engine.llamacpp_server import _arguments, build_params, check_port, main
from tests.engine.test_gguf import ARCH, CONTEXT, gguf

ARGV = [
    "--model",
    "/m.gguf",
    "--alias",
    "smol",
    "--port",
    "8100",
    "--context",
    "1024",
    "--parallel",
    "3",
    "--threads",
    "2",
]


def test_every_setting_that_matters_is_chosen() -> None:
    params = build_params(_arguments([*ARGV, "--prompt-cache-bytes", str(64 * 2**20)]))
    assert params.n_ctx == 3 * 1024
    assert (params.n_parallel, params.kv_unified) == (3, False)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (2, 2)
    assert params.n_threads_http == num_http_threads(3) >= 2 * (3 + 8)
    assert params.cache_ram_mib == 64
    assert params.hostnames == ["127.0.0.1"]
    assert params.endpoint_metrics
    assert not params.embedding


def test_an_embedding_input_fits_into_one_step() -> None:
    arguments = _arguments([*ARGV, "--embeddings"])
    arguments.has_pooling = False
    params = build_params(arguments)
    assert params.embedding
    assert params.n_ubatch == 1024


def test_a_port_in_use_is_found_before_the_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(gguf(ARCH, CONTEXT))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        argv = [*ARGV]
        argv[1], argv[5] = str(model), str(port)
        assert main(argv) == 1
    assert capsys.readouterr().err == f"roadbed: error: port {port} on 127.0.0.1: Address already in use\n"
    check_port(port)


def test_a_bad_model_or_context_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*ARGV]
    argv[1] = str(tmp_path / "none.gguf")
    assert main(argv) == 1
    assert "can't be read: No such file" in capsys.readouterr().err
    (tmp_path / "none.gguf").write_bytes(gguf(ARCH, CONTEXT))
    argv[argv.index("--context") + 1] = "9000"
    assert main(argv) == 1
    assert "9000 is more than the 8192 tokens" in capsys.readouterr().err
    assert "xllamacpp" in sys.modules


def test_adapters_are_loaded_and_not_applied() -> None:
    params = build_params(_arguments([*ARGV, "--lora", "/a.gguf", "--lora", "/b.gguf"]))
    assert [(adapter.path, adapter.scale) for adapter in params.lora_adapters] == [("/a.gguf", 0), ("/b.gguf", 0)]
    assert (params.cache_prompt, params.cache_ram_mib) == (False, 0), "caches mix adapters up"
    assert not build_params(_arguments(ARGV)).lora_adapters
