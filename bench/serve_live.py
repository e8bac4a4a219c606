"""The serving twin against the real thing: two llama.cpp replicas, measured and foretold.

1. One replica is profiled (`roadbed bench profile`'s own sweeps), while the other is idle.
2. Under each policy, requests with prompts of their own (40 to 600 tokens, 16 tokens out) come at the same random
   moments through our gateway; the time to the first token is taken at the client.
3. What the gateway remembers of them becomes a trace (`twin from-log`), and the twin serves it by the same policy on
   two replicas of that profile. Nothing is fitted to step 2.

Prompts share nothing: llama.cpp keeps a cache per slot, the twin's engine one of pages, so only uncached traffic is
alike. Each replica has a core of its own, which it shares with the gateway and the client. Requests come at a share of
what the profile says two replicas can do; the pace of the machine is measured again after each policy (`drift`), as a
twin of a machine that has slowed down meanwhile can't be right.

    python -m bench.serve_live [--requests 80] [--load 0.6] [--save]
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.common import save
from bench.prefix_real import CONTEXT, PARALLEL, WORDS, ask, replica, router
from roadbed.cli.bench_profile import _measure, _points, chunks, fitted
from roadbed.cli.load import Load
from roadbed.engine.llamacpp_server import BATCH_TOKENS
from roadbed.home import find_home
from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore
from roadbed.profiles.model import StepModel, StepTimer
from roadbed.profiles.profile import Profile, Variant, write

POLICIES = ("round_robin", "least_load", "roadbed")
OUTPUT = 16
BLOCK = 512


PROBE = 256
"""Prompt tokens by which the machine's pace is told."""


def pace(port: int) -> float:
    """Seconds to the first token of a prompt alone."""
    return asyncio.run(_measure(_target(port), PROBE, 0, 3)).seconds


def _target(port: int) -> Load:
    return Load(f"http://127.0.0.1:{port}", "", DEFAULT_MODEL, 1, None, None, 1, 1, 1, 0)


def lengths(num: int) -> list[int]:
    """Words of each prompt."""
    rng = random.Random(8)
    return [int(min(600, max(40, rng.lognormvariate(5.0, 0.8)))) for _ in range(num)]


def service_s(step: StepModel, num: int) -> float:
    """Mean seconds a request keeps a replica busy alone."""
    timer = StepTimer(step)
    prompts = [sum(timer.mixed([part], 1, 0, 0) for part in chunks(1.4 * one, BATCH_TOKENS)) for one in lengths(num)]
    base, per_kv = timer.decode(1)
    return statistics.fmean(prompts) + OUTPUT * (base + 300 * per_kv)


def profile(port: int, path: Path) -> tuple[list[dict], StepModel]:
    """Sweeps one replica and writes its profile."""
    target = _target(port)
    measured = [asyncio.run(_measure(target, *point)) for point in _points(768, PARALLEL, 3)]
    step = fitted(measured, BATCH_TOKENS)
    variant = Variant(step=step, kv_tokens=CONTEXT * PARALLEL)
    write(
        Profile(
            name="cpu", accelerator="cpu", model=DEFAULT_MODEL, dtype="", source="this machine", licence="",
            variants={"1": variant},
        ),
        path,
    )  # fmt: skip
    told = [{"sequences": one.sequences, "tokens": one.tokens, "ms": round(one.seconds * 1e3, 1)} for one in measured]
    return told, step


async def workload(port: int, num: int, rate: float, salt: str) -> list[float]:
    """TTFT of each request, in order of arrival; −1 where it was refused."""
    rng = random.Random(7)
    due, sizes = [0.0], lengths(num)
    while len(due) < num:
        due.append(due[-1] + rng.expovariate(rate))
    begun = asyncio.get_running_loop().time()

    async def one(at: int) -> float:
        await asyncio.sleep(max(0.0, begun + due[at] - asyncio.get_running_loop().time()))
        text = f"{salt}-{at} " + " ".join(random.Random(f"{salt}{at}").choices(WORDS, k=sizes[at]))
        return (await ask(port, [{"role": "user", "content": text}], OUTPUT))[0]

    return list(await asyncio.gather(*(one(at) for at in range(num))))


def cli(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "roadbed.cli", *words], check=True, capture_output=True, text=True)
    return done.stdout


def foretold(folder: Path, traffic: Path, policy: str, path: Path) -> dict:
    """What the twin says of the traffic in that log."""
    trace = folder / f"{policy}.jsonl"
    cli("twin", "from-log", "--log", str(traffic), "--out", str(trace), "--json")
    said = cli(
        "twin", "serve", "--trace", str(trace), "--profile", str(path), "--replicas", "2", "--router", policy,
        "--max-seqs", str(PARALLEL), "--max-batched-tokens", str(BATCH_TOKENS), "--block-tokens", str(BLOCK),
        "--kv-blocks", str(CONTEXT * PARALLEL // BLOCK), "--json",
    )  # fmt: skip
    row: dict = json.loads(said)["rows"][0]
    return row


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run(args: argparse.Namespace) -> list[dict]:
    source = resolve(DEFAULT_MODEL)
    model = ModelStore(find_home().models).pull(source, expected_sha256(DEFAULT_MODEL)).path
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ports = [stack.enter_context(replica(folder, index, model))[0] for index in range(2)]
        path = folder / "cpu.json"
        told, step = profile(ports[0], path)
        rate, before = args.load * len(ports) / service_s(step, args.requests), pace(ports[0])
        rows.append({"profile": told, "rate": round(rate, 3)})
        print(rows[0])
        for policy in POLICIES:
            with router(f"roadbed:{policy}", folder / policy, ports) as port:
                ttft = asyncio.run(workload(port, args.requests, rate, policy))
            good = [one for one in ttft if one >= 0]
            (traffic,) = (folder / policy).rglob("traffic")
            said = foretold(folder, traffic, policy, path)["ttft_s"]
            mean = statistics.fmean(good)
            row = {
                "policy": policy, "requests": len(good), "refused": len(ttft) - len(good),
                "measured_ms": {"mean": round(mean * 1e3), "p50": round(quantile(good, 0.5) * 1e3),
                                "p90": round(quantile(good, 0.9) * 1e3)},
                "twin_ms": {name: round(said[name] * 1e3) for name in ("mean", "p50", "p90")},
                "error_of_mean": round(said["mean"] / mean - 1, 3), "drift": round(pace(ports[0]) / before, 2),
            }  # fmt: skip
            rows.append(row)
            print(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=80)
    parser.add_argument("--load", type=float, default=0.6)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    rows = run(args)
    if args.save:
        save("serve_live", "python -m bench.serve_live --save", rows)


if __name__ == "__main__":
    main()
