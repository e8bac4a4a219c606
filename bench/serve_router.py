"""Every routing policy on one trace, in the request twin: latency, goodput and reuse by load.

Rows: `--cases REPLICAS/KV_BLOCKS/SPEEDUP,…`; the default are those of the Mooncake trace that DynoSim has figures for
(4 replicas × 1 2 3 and 8 × 2 4 6, with the whole KV cache of 1,845 blocks of 512 tokens and a starved one of 512).
Published policies send at once, as their routers do; `roadbed` also admits, so what it shed is a column. `--seeds N`:
means over N runs with arrivals moved by up to a second each, because one change of a decision moves a row by percents.
`--dynamo PYTHON --tables FOLDER`: Dynamo's own binary beside (bench/dynosim.py), on its own engine stand-in, which is
within 2 % of ours under round robin with 1,845 blocks and harsher with 512; it tells no goodput.

    python -m bench.serve_router --trace mooncake_synthetic.jsonl [--profile h200-llama-3.1-8b-fp8] [--seeds 3] [--json]
"""

import argparse
import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.dynosim import replay
from roadbed.profiles import load
from roadbed.router.policies import POLICIES
from roadbed.twin import serve_plan
from roadbed.twin.serve import Settings
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_trace import Trace

CASES = "4/1845/1,4/1845/2,4/1845/3,4/512/1,4/512/2,4/512/3,8/1845/2,8/1845/4,8/1845/6,8/512/2,8/512/4,8/512/6"
SLO_TTFT_S, SLO_ITL_S = 2.0, 0.025


DYNAMO = {"dynamo binary": {}, "dynamo binary, tuned": {"prefill_load_scale": 2.0}}
"""Settings of its KV router; the second is the better of those tried (facts: scale 2 and 4)."""
FIGURES = (
    "ttft_mean_s", "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "itl_mean_s", "e2e_mean_s", "goodput_share", "reuse",
    "output_tokens_per_s", "shed",
)  # fmt: skip


def measure(shared: dict[str, Any], traces: list[Trace], policy: str, case: str) -> dict[str, Any]:
    """One policy on one case, as plain numbers, means over the traces; seconds."""
    replicas, kv_blocks, speedup = case.split("/")
    settings = Settings(slo_ttft_s=SLO_TTFT_S, slo_itl_s=SLO_ITL_S, max_queue=100_000, max_wait_s=600.0)
    plan = {**shared, "asked": serve_plan.Asked(kv_blocks=int(kv_blocks)), "settings": settings}
    found = []
    for seed, trace in enumerate(traces):
        run = serve_plan.Run(policy=policy, replicas=int(replicas), speedup=float(speedup), profile="it", seed=seed)
        row = serve_plan.one({**plan, "trace": trace}, run)
        found.append(
            (row.ttft_s.mean, row.ttft_s.p50, row.ttft_s.p90, row.ttft_s.p99, row.itl_s.mean, row.e2e_s.mean,
             row.goodput_share, row.reuse, row.output_tokens_per_s, row.shed)
        )  # fmt: skip
    means = [fmean(column) for column in zip(*found, strict=True)]
    return {"case": case, "policy": policy, **dict(zip(FIGURES, means, strict=True))}


def measure_dynamo(python: str, tables: Path, path: Path, name: str, case: str) -> dict[str, Any]:
    """Dynamo's binary on the same case; it tells no goodput and no p50."""
    workers, kv_blocks, speedup = case.split("/")
    told = replay(
        python,
        tables,
        path,
        workers=int(workers),
        kv_blocks=int(kv_blocks),
        speedup=float(speedup),
        router=DYNAMO[name],
    )
    return {
        "case": case, "policy": name, "ttft_mean_s": told["ttft_ms"] / 1e3, "ttft_p90_s": told["ttft_p90_ms"] / 1e3,
        "ttft_p99_s": told["ttft_p99_ms"] / 1e3, "itl_mean_s": told["tpot_ms"] / 1e3,
        "e2e_mean_s": told["e2e_ms"] / 1e3, "reuse": told["reuse"], "output_tokens_per_s": told["output_tokens_per_s"],
        "goodput_share": None, "shed": 0,
    }  # fmt: skip


def jittered(trace: Trace, seed: int) -> Trace:
    """The same requests, each up to a second later; 0 leaves them alone."""
    if not seed:
        return trace
    rng, found = random.Random(seed), Trace(trace.name, trace.block_tokens, synthetic=trace.synthetic)
    for at in range(len(trace)):
        found.add(
            trace.arrival_s[at] + rng.random(), trace.prompt_tokens[at], trace.output_tokens[at], trace.blocks[at],
            trace.session[at], trace.priority[at],
        )  # fmt: skip
    return found.in_order()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--profile", default="h200-llama-3.1-8b-fp8")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--policies", default=",".join(name for name in POLICIES if name != "prefix_affinity"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--dynamo", help="a Python with ai-dynamo 1.2.1")
    parser.add_argument("--tables", type=Path, help="the step times it reads")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = read_trace(options.trace)
    traces = [jittered(found, seed) for seed in range(options.seeds)]
    shared = {"profiles": {"it": load(options.profile)}}
    rows = []
    for case in options.cases.split(","):
        rows += [measure(shared, traces, policy, case) for policy in options.policies.split(",")]
        if options.dynamo:
            rows += [measure_dynamo(options.dynamo, options.tables, options.trace, name, case) for name in DYNAMO]
        if not options.json:
            show([row for row in rows if row["case"] == case])
    if options.json:
        print(json.dumps({"rows": rows}))


def show(rows: list[dict[str, Any]]) -> None:
    """A table of one case, best mean TTFT first."""
    names = ("ttft_mean_s", "ttft_p50_s", "ttft_p90_s", "ttft_p99_s")
    heads = " ".join(f"{head:>8}" for head in ("TTFT", "p50", "p90", "p99"))
    print(f"{rows[0]['case']:22} {heads} {'ITL':>7} {'E2E':>8}  good  reuse tok/s  shed")
    for row in sorted(rows, key=lambda row: float(row["ttft_mean_s"])):
        times = " ".join(f"{row[name] * 1e3:8.0f}" if name in row else f"{'':8}" for name in names)
        good = "" if row["goodput_share"] is None else f"{row['goodput_share']:.3f}"
        print(
            f"{row['policy']:22} {times} {row['itl_mean_s'] * 1e3:7.1f} {row['e2e_mean_s'] * 1e3:8.0f}  {good:5}"
            f" {row['reuse']:.3f} {row['output_tokens_per_s']:5.0f} {row['shed']:5.0f}"
        )


if __name__ == "__main__":
    main()
