"""Prefix-aware routing on two real llama.cpp replicas: time to first token of conversations that share prompts.

    python -m bench.prefix_real [--conversations 22] [--seconds 45] [--repeats 1] [--json] [--save]

Groups of conversations share a long system prompt; each turn sends the whole history again, after a pause. Starts,
groups, lengths and pauses come from a seed and are the same for every target. The same two replicas serve the targets
in turn; each run salts its prompts, so that nobody profits from what another run left in the caches. Measured from the
request's first byte to the first event with text. `busy` is the share of the replicas' processor time that was used,
which is how the load is stated; a target that caches less needs more of it. Ratios are of mean TTFT.
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

from bench.common import KEY, cpu_s, free_port, gateway_home, gateway_process, pinned, save, wait_port
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
def replica(folder: Path, index: int, model: Path) -> Iterator[tuple[int, int]]:
    """(port, pid) of a llama.cpp server with one thread, on a core of its own where there are enough."""
    port = free_port()
    argv = [
        sys.executable, "-m", "roadbed.engine.llamacpp_server", "--model", str(model), "--alias", DEFAULT_MODEL,
        "--port", str(port), "--context", str(CONTEXT), "--parallel", str(PARALLEL), "--threads", "1",
    ]  # fmt: skip
    process = pinned(index, argv, folder / f"replica-{index}.log")
    try:
        wait_port(port, 60)
        _wait_loaded(port)
        yield port, process.pid
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


def plan(args: argparse.Namespace, seed: int) -> list[tuple[float, int, int]]:
    """(start s, group, turns) of each conversation. Popularity of the groups falls like 1/rank, as it does in use."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(args.groups)]
    rate = args.conversations / args.seconds
    starts = [0.0]
    while len(starts) < args.conversations:
        starts.append(starts[-1] + rng.expovariate(rate))
    stretch = args.seconds / starts[-1]
    groups = rng.choices(range(args.groups), weights, k=args.conversations)
    return [
        (start * stretch, group, rng.randint(1, 2 * args.turns - 1))
        for start, group in zip(starts, groups, strict=True)
    ]


async def workload(port: int, args: argparse.Namespace, salt: str, seed: int) -> list[float]:
    """TTFTs of all turns of all conversations. They start when `plan` says, whatever the others are doing."""
    words = random.Random(seed)
    systems = [
        f"[{salt}-{group}] You are assistant number {group}. " + " ".join(words.choices(WORDS, k=args.system_words))
        for group in range(args.groups)
    ]
    ttfts: list[float] = []

    async def conversation(number: int, start_s: float, group: int, turns: int) -> None:
        talk = random.Random(seed * 1000 + number)
        messages = [{"role": "system", "content": systems[group]}]
        await asyncio.sleep(start_s)
        for _ in range(turns):
            question = " ".join(talk.choices(WORDS, k=args.question_words))
            messages.append({"role": "user", "content": f"Explain: {question}"})
            ttft, text = await ask(port, messages, args.max_tokens)
            if ttft < 0:
                raise RuntimeError("a request was refused")
            ttfts.append(ttft)
            messages.append({"role": "assistant", "content": text})
            await asyncio.sleep(talk.expovariate(1 / args.think_s))

    await asyncio.gather(*(conversation(number, *planned) for number, planned in enumerate(plan(args, seed))))
    return ttfts


async def warm_up(port: int, salt: str) -> None:
    """Three conversations about nothing that follows, uncounted: a router in use has seen its engines before."""

    async def talk(number: int) -> None:
        messages = [{"role": "system", "content": f"[{salt}-warm-{number}] " + " ".join(WORDS * (1 + 2 * number))}]
        for word in WORDS[:6]:
            messages.append({"role": "user", "content": f"Explain: {word}"})
            messages.append({"role": "assistant", "content": (await ask(port, messages, 8))[1]})

    await asyncio.gather(*(talk(number) for number in range(3)))


def measure(port: int, args: argparse.Namespace, salt: str, seed: int, pids: list[int]) -> dict:
    """One run: TTFTs, and what share of the replicas' processor time it took."""
    asyncio.run(warm_up(port, salt))
    began, before = time.monotonic(), sum(cpu_s(pid) for pid in pids)
    ttfts = asyncio.run(workload(port, args, salt, seed))
    spent, elapsed = sum(cpu_s(pid) for pid in pids) - before, time.monotonic() - began
    return {"ttfts": ttfts, "busy": spent / (elapsed * len(pids)), "seconds": elapsed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=22, help="conversations per run")
    parser.add_argument("--seconds", type=float, default=45.0, help="time in which they start")
    parser.add_argument("--groups", type=int, default=6, help="distinct system prompts")
    parser.add_argument("--turns", type=int, default=3, help="mean turns of a conversation")
    parser.add_argument("--system-words", type=int, default=250)
    parser.add_argument("--question-words", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--think-s", type=float, default=2.0, help="mean pause between turns")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write bench/results/prefix_real-<date>.json")
    args = parser.parse_args()
    targets = [name for name in TARGETS if name in args.targets.split(",")]
    source = resolve(DEFAULT_MODEL)
    model = ModelStore(find_home().models).pull(source, expected_sha256(DEFAULT_MODEL)).path
    results: dict[str, list[dict]] = {name: [] for name in targets}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        servers = [stack.enter_context(replica(Path(temporary), index, model)) for index in range(2)]
        ports, pids = [port for port, _ in servers], [pid for _, pid in servers]
        for repeat in range(args.repeats):
            for name in targets[repeat % len(targets) :] + targets[: repeat % len(targets)]:
                print(f"round {repeat + 1}/{args.repeats}: {name}", file=sys.stderr, flush=True)
                folder = Path(temporary) / f"{repeat}-{name.replace(':', '-')}"
                folder.mkdir()
                with router(name, folder, ports) as port:
                    results[name].append(measure(port, args, f"{repeat}-{name}", args.seed + repeat, pids))
    rows = [summarise(name, results) for name in targets]
    if args.save:
        save("prefix_real", " ".join(["python -m bench.prefix_real", *sys.argv[1:]]), rows)
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'target':22}{'mean TTFT s':>12}{'p50':>8}{'p90':>8}{'busy':>7}{'ours ÷ it':>11}")
    for row in rows:
        print(
            f"{row['target']:22}{row['ttft_mean_s']:12}{row['ttft_p50_s']:8}{row['ttft_p90_s']:8}{row['busy']:7}"
            f"{row['ratio']:11}"
        )


def summarise(name: str, results: dict[str, list[dict]]) -> dict:
    """Over all requests of all repeats; `ratio` is our mean TTFT divided by this target's."""
    runs = results[name]
    ttfts = sorted(ttft for run in runs for ttft in run["ttfts"])
    ours = [ttft for run in results.get(TARGETS[0], runs) for ttft in run["ttfts"]]
    return {
        "target": name,
        "ttft_mean_s": round(statistics.mean(ttfts), 3),
        "ttft_p50_s": round(statistics.median(ttfts), 3),
        "ttft_p90_s": round(ttfts[int(len(ttfts) * 0.9)], 3),
        "busy": round(statistics.mean(run["busy"] for run in runs), 2),
        "means_s": [round(statistics.mean(run["ttfts"]), 3) for run in runs],
        "num_requests": len(ttfts),
        "ratio": round(statistics.mean(ours) / statistics.mean(ttfts), 3),
    }


if __name__ == "__main__":
    main()
