"""Turns the last output of a dead engine into one sentence and something to do.

Engines die verbosely: the first real error is followed by pages of tracebacks that only say that something failed
earlier. So the log is read from its beginning, noise (warnings, progress, "see root cause above") is skipped, and the
first line that a rule knows wins; failing that the first line that looks like an exception; failing that the signal.
The sentence never carries a secret: tokens and keys are masked before anything is shown or stored.
"""

import re
import signal as signals

from roadbed.engine.base import EngineFailure

MAX_MESSAGE_CHARS = 300
MAX_LINE_CHARS = 2000

_RULES: tuple[tuple[str, str, str], ...] = (
    (
        "oom",
        r"out of memory|OutOfMemoryError|MemoryError|std::bad_alloc|Cannot allocate memory|No available memory for the "
        r"cache|Free memory on device|failed to allocate .*buffer|larger than the (?:maximum|available) .*KV cache|"
        r"KV cache is needed.*available|unable to allocate",
        "roadbed apply with more resources.memory, or a smaller engine.context_tokens or engine.parallel",
    ),
    (
        "port",
        r"Address already in use|address already in use|couldn't bind|could not bind|Errno 98|port \d+ on \S+: ",
        "ss -ltnp   # shows who holds the port",
    ),
    (
        "driver",
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old|no CUDA-capable device|"
        r"Found no NVIDIA driver|libcuda\.so|CUDA error: (?:unknown|initialization)|No CUDA GPUs are available|"
        r"Failed to infer device type|CUDA initialization",
        "nvidia-smi   # the driver must be there and new enough for the engine's CUDA",
    ),
    (
        "arch",
        r"no kernel image is available|not compiled with CUDA|compute capability|unsupported GPU|"
        r"Illegal instruction|unknown model architecture|Model architectures .* (?:are )?not supported|"
        r"does not recognize this architecture",
        "roadbed doctor   # this model or build does not fit this hardware or engine version",
    ),
    (
        "missing",
        r"ModuleNotFoundError|No module named|cannot open shared object file|command not found|ImportError",
        "install the engine into the interpreter named by engine.python, for example: pip install vllm",
    ),
    (
        "model",
        r"error loading model|failed to load model|not a GGUF file|model file .* can't be read|gguf_init|"
        r"safetensors|Repository Not Found|RepositoryNotFoundError|is not a local folder|not a valid model identifier|"
        r"GatedRepoError|gated repo|Incorrect path_or_model_id|checkpoint|trained for|maximum model length|"
        r"max_model_len",
        "roadbed models   # check the model's name, file and context",
    ),
)
_COMPILED = tuple((reason, re.compile(pattern), hint) for reason, pattern, hint in _RULES)

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PREFIX = re.compile(
    r"^(?:\([^)]{1,60}\)\s*)*"  # (EngineCore_0 pid=12)
    r"(?:\d+\.\d\d\.\d{3}\.\d{3}\s+)?"  # llama.cpp's clock
    r"(?:(?:ERROR|CRITICAL|E)\s+)?"
    r"(?:\d\d-\d\d \d\d:\d\d:\d\d\s+)?(?:\[[\w.]+:\d+\]\s*)?"
    r"(?:roadbed: error:\s*)?"
)
_NOISE = re.compile(
    r"See root cause above|Engine core initialization failed|engine core proc|EngineDeadError|^Traceback|^\s*File \"|"
    r"^--- \S+ started|Failed to init server|^\s*\^+\s*$|WorkerProc failed to start|exiting due to|"
    r"Engine process failed to start|Failed core proc|EngineCore failed to start|"
    r"EngineCore encountered a fatal error",
    re.IGNORECASE,
)
_QUIET = re.compile(r"^(?:\([^)]{1,60}\)\s*)*(?:\d+\.\d\d\.\d{3}\.\d{3}\s+[IWD]\b|(?:WARNING|INFO|DEBUG)\b)|Warning: ")
_EXCEPTION = re.compile(r"(?:Error|Exception|Failure)\b\s*: \S|GGML_ASSERT|^roadbed: error: |\bE\s+\S")
_SECRETS = (
    re.compile(r"\b(?:hf|sk|rb|ghp|gho|pat|ms)[_-][A-Za-z0-9_\-]{8,}"),
    re.compile(r"(?i)(\bbearer\s+)\S+"),
    re.compile(r"(?i)((?:api[-_]?key|token|password|passwd|secret)[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',]+"),
    re.compile(r"(://[^/\s:@]*:)[^@\s]+(?=@)"),
)


def explain(log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure:
    """Never raises. The message is one line of at most 300 characters."""
    lines = [_ANSI.sub("", line)[:MAX_LINE_CHARS].strip() for line in log_tail.splitlines()]
    telling = [line for line in lines if line and not _QUIET.search(line) and not _NOISE.search(line)]
    for line in telling:
        for reason, pattern, hint in _COMPILED:
            if pattern.search(line):
                return EngineFailure(reason=reason, message=_sentence(line), hint=hint)  # type: ignore[arg-type]
    if signal is not None:
        return _explain_signal(signal)
    for line in telling:
        if _EXCEPTION.search(line):
            return EngineFailure(reason="unknown", message=_sentence(line), hint="roadbed logs NAME")
    last = f": {telling[-1]}" if telling else " and left no message"
    return EngineFailure(
        reason="unknown", message=_sentence(f"exited with code {exit_code}{last}"), hint="roadbed logs NAME"
    )


def _explain_signal(number: int) -> EngineFailure:
    try:
        name = signals.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if name == "SIGKILL":
        message = "killed by SIGKILL without a last word; the kernel does that when memory runs out"
        return EngineFailure(reason="killed", message=message, hint="dmesg | grep -i -E 'killed process|out of memory'")
    if name == "SIGILL":
        message = "ended by SIGILL: this build uses an instruction this CPU does not have"
        return EngineFailure(reason="arch", message=message, hint="roadbed doctor")
    return EngineFailure(reason="killed", message=f"ended by {name}", hint="roadbed logs NAME")


def _sentence(line: str) -> str:
    text = mask_secrets(" ".join(_PREFIX.sub("", line).split()) or line)
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def mask_secrets(text: str) -> str:
    """Keys, tokens and passwords replaced by ***."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda match: (match[1] if match.re.groups else "") + "***", text)
    return text
