import json
import os
import sys
from pathlib import Path

import pytest

from roadbed.engine import create
from roadbed.engine.base import LaunchRequest
from roadbed.engine.vllm import events_port_of, find_interpreter, side_channel_port_of
from roadbed.errors import EngineError, UnreachableError
from roadbed.spec.service import VllmEngine
from tests.engine.conftest import reply, serve
from tests.engine.test_vllm_metrics import PAGE

MODELS = reply('{"object":"list","data":[{"id":"qwen","max_model_len":32768}]}')
READY = {"/health": reply(""), "/v1/models": MODELS, "/metrics": reply(PAGE)}
REQUEST = LaunchRequest(
    replica="r-0",
    served_model="qwen",
    model_path="/m",
    port=8100,
    threads=2,
    memory_bytes=0,
    labels={"service": "chat"},
)


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter whose environment has a package named vllm."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise SystemExit('must not be imported')")
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_the_command_line(python: str) -> None:
    adapter = create(VllmEngine(python=python, args=["--max-num-seqs", "64"], env={"X": "1"}))
    spec = adapter.process(REQUEST)
    assert spec is not None
    assert spec.argv[:5] == (python, "-m", "vllm.entrypoints.cli.main", "serve", "/m")
    assert spec.argv[5:] == (
        "--host", "127.0.0.1", "--port", "8100", "--served-model-name", "qwen", "--max-num-seqs", "64",
    )  # fmt: skip
    assert spec.env["X"] == "1"
    assert spec.labels == {"service": "chat"}


def test_kv_events_are_published_on_a_port_of_their_own(python: str) -> None:
    spec = create(VllmEngine(python=python, kv_events=True)).process(REQUEST)
    assert spec is not None
    config = json.loads(spec.argv[spec.argv.index("--kv-events-config") + 1])
    assert config["endpoint"] == "tcp://127.0.0.1:18100"
    assert config["enable_kv_cache_events"] is True
    assert events_port_of(60_000) == 50_000


def test_adapters_and_kv_transfer_are_passed_on(python: str, tmp_path: Path) -> None:
    adapters = [{"name": "law", "source": str(tmp_path)}, {"name": "org/art", "source": "hf:org/art-lora"}]
    transfer = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cuda"}
    spec = VllmEngine.model_validate({"python": python, "adapters": adapters, "kv_transfer": transfer})
    process = create(spec).process(REQUEST)
    assert process is not None
    at = process.argv.index("--enable-lora")
    assert process.argv[at : at + 6] == (
        "--enable-lora", "--max-loras", "2", "--lora-modules", f"law={tmp_path}", "org/art=org/art-lora",
    )  # fmt: skip
    assert json.loads(process.argv[process.argv.index("--kv-transfer-config") + 1]) == transfer
    assert process.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "28100"
    assert side_channel_port_of(60_000) == 40_000


def test_without_them_nothing_of_it_is_said(python: str) -> None:
    process = create(VllmEngine(python=python)).process(REQUEST)
    assert process is not None
    assert not {"--enable-lora", "--kv-transfer-config"} & set(process.argv)
    assert "VLLM_NIXL_SIDE_CHANNEL_PORT" not in process.env


def test_what_the_spec_says_may_not_be_said_again(tmp_path: Path) -> None:
    adapters = [{"name": "law", "source": str(tmp_path)}]
    for arg in ("--enable-lora", "--max-loras=2"):
        with pytest.raises(EngineError, match="set by Roadbed"):
            create(VllmEngine.model_validate({"adapters": adapters, "args": [arg]}))
        create(VllmEngine(args=[arg]))
    with pytest.raises(EngineError, match="set by Roadbed"):
        create(VllmEngine(args=["--kv-transfer-config"], kv_transfer={"kv_connector": "X", "kv_role": "kv_both"}))


@pytest.mark.parametrize("arg", ["--port", "--port=1", "--host", "--served-model-name=x", "--kv-events-config"])
def test_arguments_that_are_ours_are_refused(arg: str) -> None:
    with pytest.raises(EngineError, match="set by Roadbed"):
        create(VllmEngine(args=[arg]))


def test_interpreters_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no vLLM") as caught:
        find_interpreter(sys.executable)
    assert caught.value.hint == f"{sys.executable} -m pip install vllm"
    with pytest.raises(EngineError, match="not an interpreter on this machine"):
        find_interpreter("/no/such/python")
    with pytest.raises(EngineError, match="not a Python interpreter"):
        find_interpreter("/bin/false" if os.path.exists("/bin/false") else "false")  # noqa: PTH110


def test_ready_reads_capacity() -> None:
    capacity = serve(READY, create(VllmEngine(args=["--max-num-seqs=64"])).ready)
    assert capacity is not None
    assert (capacity.max_concurrency, capacity.kv_tokens, capacity.context_tokens) == (64, 16 * 27348, 32768)
    assert "tools" in capacity.capabilities


def test_not_ready_is_none_and_a_bad_count_is_an_error() -> None:
    assert serve({"/health": reply("", 503)}, create(VllmEngine()).ready) is None
    with pytest.raises(EngineError, match="needs a count"):
        serve(READY, create(VllmEngine(args=["--max-num-seqs", "many"])).ready)
    with pytest.raises(EngineError, match="answered 500: boom"):
        serve({"/health": reply(""), "/v1/models": reply('{"error":"boom"}', 500)}, create(VllmEngine()).ready)


def test_load_and_drain() -> None:
    adapter = create(VllmEngine())
    assert serve(READY, adapter.load).num_waiting == 3
    assert serve(READY, adapter.drain) is False
    idle = PAGE.replace(b"} 12.0", b"} 0.0").replace(b"} 3.0", b"} 0.0")
    assert serve({"/metrics": reply(idle)}, adapter.drain) is True
    with pytest.raises(EngineError, match="does not publish"):
        serve({"/metrics": reply("x 1\n")}, adapter.load)
    assert serve({"/metrics": b""}, adapter.drain) is True
    with pytest.raises(UnreachableError):
        serve({"/metrics": b""}, adapter.load)
