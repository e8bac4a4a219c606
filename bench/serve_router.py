"""Every routing policy on one trace, in the request twin: latency, goodput and reuse by load.

Rows: `--cases REPLICAS/KV_BLOCKS/SPEEDUP,…`; the default are those of the Mooncake trace that DynoSim has figures for
(4 replicas × 1 2 3 and 8 × 2 4 6, with the whole KV cache of 1,845 blocks of 512 tokens and a starved one of 512).
Published policies send at once, as their routers do; `roadbed` also admits, so what it shed is a column.

    python bench/serve_router.py --trace mooncake_synthetic.jsonl [--profile h200-llama-3.1-8b-fp8] [--json]
"""

import argparse
import json
from pathlib import Path
from typing import Any

from roadbed.profiles import load
from roadbed.router.policies import POLICIES
from roadbed.twin import serve_plan
from roadbed.twin.serve import Settings
from roadbed.twin.serve_read import read_trace

CASES = "4/1845/1,4/1845/2,4/1845/3,4/512/1,4/512/2,4/512/3,8/1845/2,8/1845/4,8/1845/6,8/512/2,8/512/4,8/512/6"
SLO_TTFT_S, SLO_ITL_S = 2.0, 0.025


def measure(shared: dict[str, Any], policy: str, case: str) -> dict[str, Any]:
    """One policy on one case, as plain numbers; seconds."""
    replicas, kv_blocks, speedup = case.split("/")
    settings = Settings(slo_ttft_s=SLO_TTFT_S, slo_itl_s=SLO_ITL_S, max_queue=100_000, max_wait_s=600.0)
    plan = {**shared, "asked": serve_plan.Asked(kv_blocks=int(kv_blocks)), "settings": settings}
    run = serve_plan.Run(policy=policy, replicas=int(replicas), speedup=float(speedup), profile="it")
    row = serve_plan.one(plan, run)
    return {
        "case": case, "policy": policy, "ttft_mean_s": row.ttft_s.mean, "ttft_p90_s": row.ttft_s.p90,
        "ttft_p99_s": row.ttft_s.p99, "itl_mean_s": row.itl_s.mean, "goodput_share": row.goodput_share,
        "reuse": row.reuse, "output_tokens_per_s": row.output_tokens_per_s, "shed": row.shed,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--profile", default="h200-llama-3.1-8b-fp8")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--policies", default=",".join(name for name in POLICIES if name != "prefix_affinity"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = read_trace(options.trace)
    shared = {"trace": found, "profiles": {"it": load(options.profile)}}
    rows = []
    for case in options.cases.split(","):
        rows += [measure(shared, policy, case) for policy in options.policies.split(",")]
        if not options.json:
            show([row for row in rows if row["case"] == case])
    if options.json:
        print(json.dumps({"rows": rows}))


def show(rows: list[dict[str, Any]]) -> None:
    """A table of one case, best mean TTFT first."""
    print(f"{rows[0]['case']:22} {'TTFT':>8} {'p90':>8} {'p99':>8} {'ITL':>7}  good  reuse  shed")
    for row in sorted(rows, key=lambda row: float(row["ttft_mean_s"])):
        times = [row[name] * 1e3 for name in ("ttft_mean_s", "ttft_p90_s", "ttft_p99_s")]
        print(
            f"{row['policy']:22} {times[0]:8.0f} {times[1]:8.0f} {times[2]:8.0f} {row['itl_mean_s'] * 1e3:7.1f}"
            f"  {row['goodput_share']:.3f} {row['reuse']:.3f} {row['shed']:5}"
        )


if __name__ == "__main__":
    main()
