"""Prefill and decode on servers of their own beside servers that do both, in the request twin.

Cases: `--cases SERVERS/KV_BLOCKS/SPEEDUP,…` (KV_BLOCKS 0: the profile's). Every ratio of static servers is played, then
the two rules that change roles, then the colocated fleet with each of `--routers`. Goodput: TTFT 2 s and ITL 25 ms, and
who was shed missed. KV caches travel at `--link` GB/s through one NIC per server.

    python -m bench.serve_split --trace mooncake_synthetic.jsonl [--profile h200-llama-3.1-8b-fp8] [--json]
"""

import argparse
import json
from pathlib import Path
from typing import Any

from roadbed.profiles import load
from roadbed.profiles.analytic import SHAPES
from roadbed.twin import serve_plan
from roadbed.twin.parallel import run_all
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_split import Split

CASES = "4/1845/1,4/1845/2,4/1845/3,8/1845/2,8/1845/4,8/1845/6"
SLO_TTFT_S, SLO_ITL_S = 2.0, 0.025


def plans(case: str, options: argparse.Namespace, kv_bytes: int) -> list[serve_plan.Run]:
    """Every way to run one case, colocated first."""
    num, _, speedup = case.split("/")
    servers, pace = int(num), float(speedup)

    def plan(router: str, **split: Any) -> serve_plan.Run:
        found = None
        if split:
            found = Split(
                link_bytes_s=options.link * 1e9, kv_bytes=kv_bytes, role_change_s=options.role_change,
                first_token=options.first_token, **split,
            )  # fmt: skip
        return serve_plan.Run(
            policy=router, replicas=servers, speedup=pace, profile="it", seed=options.seed, split=found
        )

    runs = [plan(router) for router in options.routers.split(",")]
    runs += [plan("roadbed", num_prefill=prefill) for prefill in range(1, servers)]
    return runs + [plan("roadbed", policy=name, num_prefill=servers // 2) for name in ("llumnix", "adaptive")]


def plain(case: str, row: Row) -> dict[str, Any]:
    """One row as plain numbers; seconds."""
    return {
        "case": case, "router": row.router, "split": row.split or "colocated", "ttft_mean_s": row.ttft_s.mean,
        "ttft_p99_s": row.ttft_s.p99, "itl_mean_s": row.itl_s.mean, "itl_p99_s": row.itl_s.p99,
        "e2e_mean_s": row.e2e_s.mean, "goodput_share": row.goodput_share, "reuse": row.reuse, "shed": row.shed,
        "role_changes": row.role_changes, "kv_moved_bytes": row.kv_moved_bytes,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--profile", default="h200-llama-3.1-8b-fp8")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--routers", default="roadbed,llmd_322,dynamo_tuned,round_robin")
    parser.add_argument("--link", type=float, default=50.0, help="GB/s of a server's NIC")
    parser.add_argument("--role-change", type=float, default=0.0, help="seconds")
    parser.add_argument("--first-token", choices=["decode", "prefill"], default="decode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    profile, trace = load(options.profile), read_trace(options.trace)
    found: list[dict[str, Any]] = []
    for case in options.cases.split(","):
        shared = {
            "trace": trace, "profiles": {"it": profile},
            "asked": serve_plan.Asked(kv_blocks=int(case.split("/")[1])),
            "settings": Settings(slo_ttft_s=SLO_TTFT_S, slo_itl_s=SLO_ITL_S, max_queue=100_000, max_wait_s=600.0),
        }  # fmt: skip
        runs = plans(case, options, SHAPES[profile.model].kv_bytes_per_token())
        rows = [plain(case, row) for row in run_all(serve_plan.one, shared, runs, num_workers=options.workers)]
        found += rows
        if not options.json:
            show(rows)
    if options.json:
        print(json.dumps({"rows": found}))


def show(rows: list[dict[str, Any]]) -> None:
    """A table of one case."""
    print(
        f"{rows[0]['case']:26} {'TTFT':>7} {'p99':>7} {'ITL':>6} {'p99':>6} {'E2E':>7}   good  reuse shed turns     GB"
    )
    for row in rows:
        name = row["router"] if row["split"] == "colocated" else f"{row['router']} {row['split']}"
        times = [row[key] * 1e3 for key in ("ttft_mean_s", "ttft_p99_s", "itl_mean_s", "itl_p99_s", "e2e_mean_s")]
        print(
            f"{name:26} {times[0]:7.0f} {times[1]:7.0f} {times[2]:6.1f} {times[3]:6.1f} {times[4]:7.0f}  "
            f"{row['goodput_share']:.3f}  {row['reuse']:.3f} {row['shed']:4} {row['role_changes'] or 0:5} "
            f"{(row['kv_moved_bytes'] or 0) / 1e9:6.0f}"
        )


if __name__ == "__main__":
    main()
