"""Prefix-aware routing on two real llama.cpp replicas: time to first token of conversations that share prompts.

    python -m bench.prefix_real [--conversations 16] [--turns 3] [--repeats 3] [--json] [--save]

Groups of conversations share a long system prompt; each turn sends the whole history again. The same two replicas serve
every target in turn; each run salts its prompts, so that nobody profits from what another run left in the caches. The
client keeps `--concurrency` conversations going at once and measures from the request's first byte to the first
event with text. Ratios are of mean TTFT within one repeat; the median over repeats counts.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.common import KEY, free_port, gateway_home, gateway_process, pinned, save, wait_port
from roadbed.home import find_home
from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore

TARGETS = ("roadbed", "roadbed:round_robin", "smg:cache_aware")
PARALLEL = 4
CONTEXT = 4096
WORDS = [
    "rail", "segment", "pod", "fabric", "switch", "queue", "token", "cache", "prefill", "decode", "router", "ledger",
    "quota", "tenant", "scheduler", "gang", "island", "server", "rack", "optic", "cable", "power", "cooling", "fault",
]  # fmt: skip


@contextmanager
def replica(folder: Path, index: int, model: Path) -> Iterator[int]:
    """A llama.cpp server with one thread, on a core of its own where there are enough."""
    port = free_port()
    argv = [
        sys.executable, "-m", "roadbed.engine.llamacpp_server", "--model", str(model), "--alias", DEFAULT_MODEL,
        "--port", str(port), "--context", str(CONTEXT), "--parallel", str(PARALLEL), "--threads", "1",
    ]  # fmt: skip
    process = pinned(index, argv, folder / f"replica-{index}.log")
    try:
        wait_port(port, 60)
        _wait_loaded(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_loaded(port: int) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
                if reply.status == 200:
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.1)
    raise TimeoutError("a replica never loaded its model")


@contextmanager
def router(target: str, folder: Path, ports: list[int]) -> Iterator[int]:
    """The gateway under test in front of the replicas."""
    port = free_port()
    policy = target.partition(":")[2] if target.startswith("roadbed:") else "roadbed"
    home = gateway_home(
        folder / "home", port, ports, policy=policy, model=DEFAULT_MODEL, max_concurrency=PARALLEL,
        kv_tokens=CONTEXT * PARALLEL, context_tokens=CONTEXT,
    )  # fmt: skip
    with gateway_process(target, home, port, ports, folder / "router.log"):
        asyncio.run(_wait_answer(port))
        yield port


async def _wait_answer(port: int) -> None:
    for _ in range(100):
        if (await ask(port, [{"role": "user", "content": "hi"}], 1))[0] > 0:
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the router never answered")


async def ask(port: int, messages: list[dict[str, str]], max_tokens: int) -> tuple[float, str]:
    """(TTFT in s, text) of one streaming chat; TTFT −1 when refused."""
    body = {"model": DEFAULT_MODEL, "messages": messages, "max_tokens": max_tokens, "stream": True, "temperature": 0}
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    start = time.perf_counter()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (KEY.encode(), len(raw), raw)
    )
    first, text = -1.0, ""
    if b" 200 " not in await reader.readline():
        writer.close()
        return -1.0, ""
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            piece = choices[0]["delta"].get("content") if choices else None
            if piece:
                first = first if first > 0 else time.perf_counter() - start
                text += piece
    writer.close()
    return first, text


async def workload(port: int, args: argparse.Namespace, salt: str) -> list[float]:
    """TTFTs of all turns of all conversations."""
    rng = random.Random(args.seed)
    systems = [
        f"[{salt}-{group}] You are assistant number {group}. " + " ".join(rng.choices(WORDS, k=args.system_words))
        for group in range(args.groups)
    ]
    gate = asyncio.Semaphore(args.concurrency)
    ttfts: list[float] = []

    async def conversation(number: int) -> None:
        talk = random.Random(args.seed * 1000 + number)
        messages = [{"role": "system", "content": systems[number % args.groups]}]
        await asyncio.sleep(talk.uniform(0, args.think_s))
        for _ in range(args.turns):
            question = " ".join(talk.choices(WORDS, k=args.question_words))
            messages.append({"role": "user", "content": f"Explain: {question}"})
            async with gate:
                ttft, text = await ask(port, messages, args.max_tokens)
            if ttft < 0:
                raise RuntimeError("a request was refused")
            ttfts.append(ttft)
            messages.append({"role": "assistant", "content": text})
            await asyncio.sleep(talk.expovariate(1 / args.think_s))

    await asyncio.gather(*(conversation(number) for number in range(args.conversations)))
    return ttfts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=16)
    parser.add_argument("--groups", type=int, default=8, help="distinct system prompts")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64, help="requests in flight at most")
    parser.add_argument("--system-words", type=int, default=300)
    parser.add_argument("--question-words", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--think-s", type=float, default=10.0, help="mean pause between turns")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write bench/results/prefix_real-<date>.json")
    args = parser.parse_args()
    source = resolve(DEFAULT_MODEL)
    model = ModelStore(find_home().models).pull(source, expected_sha256(DEFAULT_MODEL)).path
    results: dict[str, list[list[float]]] = {name: [] for name in TARGETS}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        ports = [stack.enter_context(replica(Path(temporary), index, model)) for index in range(2)]
        for repeat in range(args.repeats):
            for name in TARGETS[repeat % len(TARGETS) :] + TARGETS[: repeat % len(TARGETS)]:
                print(f"round {repeat + 1}/{args.repeats}: {name}", file=sys.stderr, flush=True)
                folder = Path(temporary) / f"{repeat}-{name.replace(':', '-')}"
                folder.mkdir()
                with router(name, folder, ports) as port:
                    results[name].append(asyncio.run(workload(port, args, f"{repeat}-{name}")))
    rows = [summarise(name, results) for name in TARGETS]
    if args.save:
        save("prefix_real", " ".join(["python -m bench.prefix_real", *sys.argv[1:]]), rows)
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'target':22}{'mean TTFT s':>12}{'p50':>8}{'p90':>8}{'ours ÷ it':>11}")
    for row in rows:
        print(f"{row['target']:22}{row['ttft_mean_s']:12}{row['ttft_p50_s']:8}{row['ttft_p90_s']:8}{row['ratio']:11}")


def summarise(name: str, results: dict[str, list[list[float]]]) -> dict:
    """Medians over repeats; `ratio` is our mean TTFT divided by this target's, per repeat."""
    runs = results[name]
    ratios = [statistics.mean(ours) / statistics.mean(its) for ours, its in zip(results[TARGETS[0]], runs, strict=True)]

    def middle(pick: object) -> float:
        return round(statistics.median(pick(run) for run in runs), 3)  # type: ignore[operator]

    return {
        "target": name,
        "ttft_mean_s": middle(statistics.mean),
        "ttft_p50_s": middle(statistics.median),
        "ttft_p90_s": middle(lambda run: sorted(run)[int(len(run) * 0.9)]),
        "num_requests": sum(len(run) for run in runs),
        "ratio": round(statistics.median(ratios), 3),
    }


if __name__ == "__main__":
    main()
