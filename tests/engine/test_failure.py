import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadbed.engine.failure import MAX_MESSAGE_CHARS, explain, mask_secrets

VLLM_OOM = """INFO 11-22 10:00:00 [api_server.py:1289] vLLM API server version 0.11.0
WARNING 11-22 10:00:01 [config.py:10] Failed to import optional: ModuleNotFoundError: No module named 'vllm._moe_C'
(EngineCore_DP0 pid=812) INFO 11-22 10:00:09 [gpu_model_runner.py:2007] Model loading took 14.25 GiB
(EngineCore_DP0 pid=812) ERROR 11-22 10:00:11 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=812) ERROR 11-22 10:00:11 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=812) ERROR 11-22 10:00:11 [core.py:708]   File "/x/vllm/v1/engine/core.py", line 699, in run
(EngineCore_DP0 pid=812) ERROR 11-22 10:00:11 [core.py:708] torch.OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB.
(APIServer pid=700) Traceback (most recent call last):
(APIServer pid=700) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
VLLM_UNKNOWN = """(EngineCore_0 pid=12) ERROR 11-22 10:00:11 [core.py:700] EngineCore failed to start.
(EngineCore_0 pid=12) ERROR 11-22 10:00:11 [core.py:700] AssertionError: tensor parallel size 3 does not divide 28
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""
LLAMA_CORRUPT = """0.00.003.758 I srv          init: loading model
0.00.029.995 E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds
0.00.030.062 E llama_model_load_from_file_impl: failed to load model
0.00.030.589 E srv          init: exiting due to model loading error
roadbed: error: llama.cpp did not start: Failed to init server, please check the input params.
"""


@pytest.mark.parametrize(
    ("tail", "code", "number", "reason", "words"),
    [
        (VLLM_OOM, 1, None, "oom", "torch.OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB."),
        (VLLM_UNKNOWN, 1, None, "unknown", "AssertionError: tensor parallel size 3 does not divide 28"),
        (LLAMA_CORRUPT, 1, None, "model", "llama_model_load: error loading model: tensor 'token_embd.weight'"),
        ("roadbed: error: port 8100 on 127.0.0.1: Address already in use\n", 1, None, "port", "port 8100 on 127.0.0.1"),
        ("roadbed: error: model file /m.gguf can't be read: No such file or directory", 1, None, "model", "/m.gguf"),
        ("python: No module named vllm", 1, None, "missing", "No module named vllm"),
        ("RuntimeError: Found no NVIDIA driver on your system.", 1, None, "driver", "Found no NVIDIA driver"),
        ("CUDA error: no kernel image is available for execution on the device", 1, None, "arch", "no kernel image"),
        (
            "ValueError: Free memory on device (3.1/79 GiB) on startup is less than",
            1,
            None,
            "oom",
            "Free memory on device",
        ),
        ("OSError: [Errno 98] Address already in use", 1, None, "port", "Errno 98"),
        ("ggml_aligned_malloc: insufficient memory\nGGML_ASSERT(x) failed", 1, None, "unknown", "GGML_ASSERT"),
        ("0.1.2 I fine", None, 9, "killed", "SIGKILL"),
        ("", None, 4, "arch", "SIGILL"),
        ("", None, 11, "killed", "SIGSEGV"),
        ("", None, 77, "killed", "signal 77"),
        ("", 3, None, "unknown", "exited with code 3 and left no message"),
        ("something odd", 3, None, "unknown", "exited with code 3: something odd"),
    ],
)
def test_the_first_real_error_wins(tail: str, code: int | None, number: int | None, reason: str, words: str) -> None:
    failure = explain(tail, code, number)
    assert failure.reason == reason
    assert words in failure.message
    assert not failure.message.startswith(("(", "ERROR", "0.0", "roadbed:"))
    assert failure.hint


def test_colours_do_not_hide_the_error() -> None:
    assert explain("\x1b[31mtorch.OutOfMemoryError: CUDA out of memory\x1b[0m", 1, None).reason == "oom"


@given(st.text(max_size=500), st.none() | st.integers(-300, 300), st.none() | st.integers(-300, 300))
@example("Error: " + "x" * 100_000, 1, None)
@example("\u2028Error: x\r\x0b y", 1, None)
def test_any_tail_is_one_bounded_line(tail: str, code: int | None, number: int | None) -> None:
    failure = explain(tail, code, number)
    assert len(failure.message) <= MAX_MESSAGE_CHARS
    assert len(failure.message.splitlines()) == 1


_secret = st.from_regex(r"[A-Za-z0-9]{16,24}", fullmatch=True)
_carriers = st.sampled_from(
    ["hf_{}", "sk-{}", "rb_k1_{}", "Authorization: Bearer {}", "--api-key={}", "HF_TOKEN={}", "password: {}",
     "https://me:{}@host/x", '"api_key": "{}"', "aws_secret_access_key = {}"]
)  # fmt: skip


@given(_secret, _carriers, st.sampled_from(["ValueError: bad {} given", "torch.OutOfMemoryError: {}", "{}"]))
def test_secrets_never_reach_the_sentence(secret: str, carrier: str, line: str) -> None:
    assert secret not in explain(line.format(carrier.format(secret)), 1, None).message


def test_masking_leaves_ordinary_words_alone() -> None:
    text = "KV cache holds 4096 tokens; task rb-tree, disk-usage"
    assert mask_secrets(text) == text
