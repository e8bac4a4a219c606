"""The llama.cpp replica process: loads one model, serves it on loopback until SIGTERM.

`xllamacpp.Server` listens and works on its own threads; this one only waits for the signal. Its destructor waits for
running requests (a minute was seen), so SIGTERM ends the process at once: by then the gateway has drained it, and
nothing here needs saving.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

import xllamacpp

from roadbed.engine.gguf import read_header
from roadbed.engine.llamacpp import num_http_threads
from roadbed.errors import RoadbedError

BATCH_TOKENS = 128
"""Prompt tokens computed per step. On a CPU larger steps are no faster but stall everybody else's next token (and
our load questions) for their whole length."""


def build_params(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    """The engine's settings, each one chosen; see docs/design/engine.md for why."""
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = {arguments.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.context * arguments.parallel
    params.kv_unified = False
    params.fit_params = False
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.n_threads_http = num_http_threads(arguments.parallel)
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cache_prompt = True
    params.cache_ram_mib = arguments.prompt_cache_bytes >> 20
    # A slot is taken for its prompt only where most of the new one is there: the next turn of a conversation, a
    # repetition. Else the least recently used slot is, its prompt saved to the host cache; conversations that merely
    # share a system prompt would overwrite each other's history.
    params.slot_prompt_similarity = 0.8
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.use_jinja = True
    params.ui = False
    params.cors_origins = ""
    if arguments.lora:
        # Loaded, and applied to those requests alone that name them ("lora": [{"id": …, "scale": 1}]). Neither slots
        # nor the host cache keep prompts of different adapters apart (seen: a base answer on keys computed under an
        # adapter), so with adapters no prompt is kept.
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in arguments.lora]
        params.cache_prompt = False
        params.cache_ram_mib = 0
    if arguments.embeddings:
        params.embedding = True
        # One input must fit into one step; pooling is the model's own (mean when it names none).
        params.n_batch = params.n_ubatch = arguments.context
        if not arguments.has_pooling:
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return params


def check_port(port: int) -> None:
    """Before the model is loaded, not after. Raises OSError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="roadbed-llamacpp", description="Serves one GGUF model.")
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--context", required=True, type=int, help="tokens per slot")
    parser.add_argument("--parallel", required=True, type=int, help="slots")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--prompt-cache-bytes", type=int, default=256 * 2**20)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--lora", action="append", default=[], help="an adapter's GGUF; may be given again")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serves one model until SIGTERM; returns the exit code. What is wrong is said in one line on stderr."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    try:
        header = read_header(arguments.model)
        header.check_context(arguments.context)
        check_port(arguments.port)
    except RoadbedError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"port {arguments.port} on 127.0.0.1: {error.strerror}")
    arguments.has_pooling = header.has_pooling
    try:
        server = xllamacpp.Server(build_params(arguments))
    except RuntimeError as error:
        return _fail(f"llama.cpp did not start: {error}")
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(read_fd, True)
    signal.set_wakeup_fd(write_fd)  # the signal may land on any of the engine's threads
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    sys.stderr.write(f"roadbed: serving {arguments.alias} on {server.listening_address}\n")
    os.read(read_fd, 1)
    sys.stderr.write("roadbed: stopped\n")
    sys.stderr.flush()
    os._exit(0)


def _fail(sentence: str) -> int:
    sys.stderr.write(f"roadbed: error: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
