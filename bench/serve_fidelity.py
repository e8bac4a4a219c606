"""How true the serving twin is, and how fast: against real vLLM runs, and against DynoSim on the same step times.

vLLM: measured requests replayed at their real arrivals (`roadbed twin validate`). DynoSim: Mooncake's synthetic trace,
round robin, the H200 profile and the same KV blocks; its figures are those of ai-dynamo 1.2.1, run in the same call
where `--dynamo` names a Python that has it (bench/dynosim.py says how), else as recorded below. Speed: wall seconds of
both, and a large fleet on a made-up stream. DynoSim's engine lets waiting requests push running ones out where the
cache is full; so does ours here (`admission="displace"`), and nowhere else.

    python -m bench.serve_fidelity DATA [--dynamo PYTHON] [--parts vllm,dynosim,speed] [--save]
"""

import argparse
import os
import resource
import time
from pathlib import Path
from typing import Any

from bench.common import save
from bench.dynosim import replay as replay_dynamo
from roadbed.profiles.profile import load
from roadbed.twin.serve import Server, Settings, World
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_fidelity import compare, read_measured, read_started, replay
from roadbed.twin.serve_figures import row
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_synthetic import Recipe, generate

RUNS = (("Llama-3.1-8B", "rtxpro6000-llama-3.1-8b"), ("Qwen3-32B", "rtxpro6000-qwen3-32b"))
RECORDED = {
    (4, 1845, 1): (404, 14.6, 1780), (4, 1845, 2): (855, 47.1, 4180), (4, 1845, 3): (9207, 134.7, 24980),
    (8, 1845, 2): (379, 13.5, 1734), (8, 1845, 4): (789, 46.8, 4050), (8, 1845, 6): (5277, 126.7, 19060),
    (4, 512, 1): (696, 19.2, 2230), (4, 512, 2): (26129, 102.8, 35743), (4, 512, 3): (167407, 174.2, 187829),
}  # fmt: skip
"""(workers, KV blocks, speed-up) → mean TTFT, TPOT, E2E of DynoSim's round robin, milliseconds."""
PROFILE = "h200-llama-3.1-8b-fp8"


def vllm(data: Path) -> list[dict[str, Any]]:
    rows = []
    for folder, name in RUNS:
        path = data / "engine/vllm-measured/RTXPRO6000" / folder / "requests.jsonl"
        requests, started, profile = read_measured(path), read_started(path), load(name)
        variant = profile.variant(started.tensor_parallel_size or 0)
        limits = Limits(
            kv_blocks=variant.kv_tokens // 16, block_tokens=16, max_seqs=started.max_num_seqs or 128,
            max_batched_tokens=started.max_num_batched_tokens or 2048,
        )  # fmt: skip
        errors = {one.name: round(one.error, 4) for one in compare(requests, replay(requests, variant.step, limits))}
        rows.append({"part": "vllm", "run": folder, **errors})
        print(rows[-1])
    return rows


def dynosim(data: Path, python: str | None) -> list[dict[str, Any]]:
    path = data / "requests/mooncake_synthetic.jsonl"
    trace, step = read_trace(path), load(PROFILE).variant().step
    rows = []
    for (workers, blocks, speed), recorded in RECORDED.items():
        theirs = dict(zip(("ttft_ms", "tpot_ms", "e2e_ms"), recorded, strict=True))
        if python:
            tables = data / "engine/dynamo-profiles/H200_TP1P_TP1D"
            theirs = replay_dynamo(python, tables, path, workers=workers, kv_blocks=blocks, speedup=speed)
        server = Server(step=step, limits=Limits(kv_blocks=blocks, block_tokens=512, admission="displace"))
        began = time.perf_counter()
        outcomes = World(trace, [server] * workers, Settings(policy="round_robin", speedup=speed)).run()
        wall_s = time.perf_counter() - began
        found = row(outcomes, router="", replicas=workers, speedup=speed, kv_blocks=blocks, wall_s=wall_s)
        ours = {"ttft_ms": found.ttft_s.mean * 1e3, "tpot_ms": found.itl_s.mean * 1e3, "e2e_ms": found.e2e_s.mean * 1e3}
        errors = {f"{name[:-3]}_error": round(ours[name] / theirs[name] - 1, 4) for name in ours}
        rows.append(
            {
                "part": "dynosim", "workers": workers, "kv_blocks": blocks, "speedup": speed, **errors,
                "ours": {name: round(value, 1) for name, value in ours.items()}, "theirs": theirs,
                "wall_s": round(wall_s, 2), "times_real": round(found.makespan_s / wall_s),
            }
        )  # fmt: skip
        print(rows[-1])
    return rows


def speed(num_workers: int, num_requests: int) -> list[dict[str, Any]]:
    """A large fleet: 1.5 requests per second and replica, round robin."""
    rate = 1.5 * num_workers
    trace = generate(Recipe(rate=rate, seconds=num_requests / rate, prompt=1024, output=128, share=0.3))
    loaded_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    server = Server(step=load(PROFILE).variant().step, limits=Limits(kv_blocks=14_766, block_tokens=64))
    began = time.perf_counter()
    outcomes = World(trace, [server] * num_workers, Settings(policy="round_robin", poll_s=10.0)).run()
    wall_s = time.perf_counter() - began
    found = row(outcomes, router="", replicas=num_workers, speedup=1, kv_blocks=14_766, wall_s=wall_s)
    most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        {
            "part": "speed", "workers": num_workers, "requests": len(trace), "wall_s": round(wall_s, 1),
            "simulated_s": round(found.makespan_s), "us_per_request": round(wall_s / len(trace) * 1e6),
            "mib_trace": round(loaded_mib), "mib_run": round(most_mib - loaded_mib),
        }
    ]  # fmt: skip
    print(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path(os.environ.get("ROADBED_BENCH_DATA", "data")))
    parser.add_argument("--dynamo", help="a Python with ai-dynamo 1.2.1")
    parser.add_argument("--parts", default="vllm,dynosim,speed")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    parts, rows = asked.parts.split(","), []
    if "vllm" in parts:
        rows += vllm(asked.data)
    if "dynosim" in parts:
        rows += dynosim(asked.data, asked.dynamo)
    if "speed" in parts:
        rows += speed(asked.workers, asked.requests)
    if asked.save:
        print(save("serve_fidelity", "python -m bench.serve_fidelity DATA", rows))


if __name__ == "__main__":
    main()
