"""GPU-hours at equal attainment: our autoscaler beside HPA, KPA and APA, in the request twin.

An autoscaler's `target` trades GPU-hours for kept promises, so two of them can only be compared where they keep equally
many. Per workload, cold start and autoscaler the target is searched (factors of 2, then halving of the bracket) around
each attainment asked for; GPU-hours there are interpolated over log(1 − attainment) between neighbouring targets.
`fixed` is a fleet that never changes, one point per size, read the same way.

    code    Azure's code trace: an hour of bursts and silences      conv    Azure's conversations: an hour, smooth
    day     made up: a day of the image service's request rates (scaled to a mean), log-normal lengths
    azday   the same shape with the lengths of Azure's conversations, another seed: not looked at while rules were
            chosen

    python -m bench.serve_autoscale DATA [--workloads code,conv,day] [--cold-starts 30,90,300] [--save]

DATA holds requests/AzureLLMInferenceTrace_{code,conv}.csv and requests/genai_qps.csv.
"""

import argparse
import itertools
import math
import time
from pathlib import Path
from typing import Any

from bench.common import save
from roadbed.profiles import load
from roadbed.router.autoscale import AUTOSCALERS
from roadbed.twin.parallel import run_all
from roadbed.twin.serve import Settings
from roadbed.twin.serve_fleet_scale import Scaling
from roadbed.twin.serve_plan import Asked, Run, one
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_synthetic import PREFIX, generate, parse

PROFILE = "rtxpro6000-qwen3-32b"
NUM_MAX = 32
FIRST_S = 120.0
"""Every trace begins with an empty system; whoever decided on its first seconds would have none of it."""
AZURE = "AzureLLMInferenceTrace_"
DAY = "seconds=86400,shape={}/genai_qps.csv"
WORKLOADS: dict[str, dict[str, Any]] = {
    "code": {"trace": AZURE + "code.csv", "ttft_s": 5.0, "itl_s": 0.2, "start": 8, "target": 2.0},
    "conv": {"trace": AZURE + "conv.csv", "ttft_s": 5.0, "itl_s": 0.06, "start": 4, "target": 16.0},
    "day": {
        "trace": f"{PREFIX}rate=0.3,prompt=2000,output=2000,{DAY}", "ttft_s": 5.0, "itl_s": 0.06, "start": 2,
        "target": 8.0,
    },
    "azday": {
        "trace": f"{PREFIX}rate=2,seed=7,lengths={{}}/{AZURE}conv.csv,{DAY}", "ttft_s": 5.0, "itl_s": 0.06, "start": 2,
        "target": 16.0,
    },
}  # fmt: skip
MOST_STEPS = 6
Point = tuple[float, float, float]
"""(attainment, GPU-hours, target or replicas)."""


def search(shared: dict[str, Any], case: tuple[str, str, float, int]) -> list[Point]:
    """The points of (workload, autoscaler, cold start, seed): around every attainment in shared["attainments"]."""
    workload, name, cold_start_s, seed = case
    found: dict[float, Point] = {}
    what = WORKLOADS[workload]
    plan = {**shared, **shared["plans"][workload]}

    def at(value: float) -> float:
        if value not in found:
            found[value] = point(plan, what, name, cold_start_s, value, seed)
        return found[value][0]

    for wanted in shared["attainments"]:
        if name == "fixed":
            _bracket_sizes(at, wanted)
        else:
            _bracket(at, wanted, what["target"])
    return list(found.values())


def _bracket(at: Any, wanted: float, first: float) -> None:
    """Evaluates targets until two neighbours within 20 % of each other enclose the attainment wanted."""
    low = high = first  # low target: attainment above; high target: below
    for _ in range(MOST_STEPS):
        if at(low) >= wanted:
            break
        low /= 2
    for _ in range(MOST_STEPS):
        if at(high) < wanted:
            break
        high *= 2
    while high / low > 1.2 and at(low) >= wanted > at(high):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if at(middle) >= wanted else (low, middle)


def _bracket_sizes(at: Any, wanted: float) -> None:
    low, high = 1, NUM_MAX
    at(low), at(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) >= wanted else (middle, high)


def point(plan: dict[str, Any], what: dict[str, Any], name: str, cold_start_s: float, value: float, seed: int) -> Point:
    """One run; `value` is the target, or the size of a fixed fleet."""
    base = {"policy": plan["router"], "speedup": 1.0, "profile": PROFILE, "seed": seed}
    if name == "fixed":
        row = one(plan, Run(**base, replicas=int(value), is_reference=True))
    else:
        scaling = Scaling(
            autoscaler=name, num_min=1, num_max=NUM_MAX, target=value, cold_start_s=cold_start_s,
            num_start=what["start"], first_s=FIRST_S,
        )  # fmt: skip
        row = one(plan, Run(**base, replicas=0, scaling=scaling))
    return (row.goodput_share, row.gpu_hours or 0.0, value)


def hours_at(points: list[Point], wanted: float) -> float:
    """GPU-hours at an attainment: the cheapest of a point that has it and of two around it, interpolated; inf where
    no point gets there."""
    best = min((hours for share, hours, _ in points if share >= wanted), default=math.inf)
    ordered = sorted(points, key=lambda it: it[2])
    for a, b in itertools.pairwise(ordered):
        (low, low_hours, _), (high, high_hours, _) = (a, b) if a[0] < b[0] else (b, a)
        if low < wanted <= high and low_hours < high_hours:
            part = (_scale(wanted) - _scale(low)) / (_scale(high) - _scale(low))
            best = min(best, low_hours + part * (high_hours - low_hours))
    return best


def _scale(share: float) -> float:
    return -math.log(max(1.0 - share, 1e-6))


def plans(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Trace and settings of each workload."""
    found = {}
    for name in names:
        what = WORKLOADS[name]
        text = what["trace"]
        made = text.startswith(PREFIX)
        trace = generate(parse(text.replace("{}", str(folder)))) if made else read_trace(folder / text)
        settings = Settings(
            slo_ttft_s=what["ttft_s"], slo_itl_s=what["itl_s"], max_queue=1_000_000, max_wait_s=3600.0
        )  # fmt: skip
        found[name] = {"trace": trace, "settings": settings}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--workloads", default="code,conv,day")
    parser.add_argument("--cold-starts", default="30,90,300")
    parser.add_argument("--autoscalers", default=",".join([*AUTOSCALERS, "fixed"]))
    parser.add_argument("--attainments", default="0.95,0.99")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--router", default="roadbed")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    names = options.workloads.split(",")
    attainments = [float(part) for part in options.attainments.split(",")]
    shared = {
        "plans": plans(options.data / "requests", names), "profiles": {PROFILE: load(PROFILE)}, "asked": Asked(),
        "attainments": attainments, "router": options.router,
    }  # fmt: skip
    cases = [
        (workload, scaler, float(cold), int(seed))
        for workload in names for seed in options.seeds.split(",") for cold in options.cold_starts.split(",")
        for scaler in options.autoscalers.split(",")
        if scaler != "fixed" or cold == options.cold_starts.split(",")[0]
    ]  # fmt: skip
    began = time.perf_counter()
    found = run_all(search, shared, cases, num_workers=options.workers)
    rows = [
        {
            "workload": case[0], "autoscaler": case[1], "cold_start_s": case[2], "seed": case[3],
            "gpu_hours": {str(share): _finite(hours_at(points, share)) for share in attainments},
            "points": sorted(points, key=lambda it: it[2]),
        }
        for case, points in zip(cases, found, strict=True)
    ]  # fmt: skip
    show(rows, attainments)
    print(f"{sum(len(points) for points in found)} runs in {time.perf_counter() - began:.0f} s")
    if options.save:
        command = (
            f"python -m bench.serve_autoscale DATA --workloads {options.workloads} --cold-starts {options.cold_starts}"
        )
        print(save("serve_autoscale", command, rows))


def _finite(hours: float) -> float | None:
    return hours if math.isfinite(hours) else None


def show(rows: list[dict[str, Any]], attainments: list[float]) -> None:
    """Per workload and cold start: GPU-hours at each attainment, and how many times ours."""
    keys = dict.fromkeys(
        (row["workload"], row["seed"], row["cold_start_s"]) for row in rows if row["autoscaler"] != "fixed"
    )
    for share in attainments:
        print(f"GPU-hours at {share:.1%} (× ours)")
        for workload, seed, cold in keys:
            mine = [
                row for row in rows if row["workload"] == workload and row["seed"] == seed
                and (row["cold_start_s"] == cold or row["autoscaler"] == "fixed")
            ]  # fmt: skip
            hours = {row["autoscaler"]: row["gpu_hours"][str(share)] for row in mine}
            ours = hours.get("roadbed")
            cells = [f"{name} {_cell(value, ours)}" for name, value in hours.items()]
            print(f"  {workload:6} cold {cold:4.0f} s  " + "   ".join(cells))


def _cell(hours: float | None, ours: float | None) -> str:
    if hours is None:
        return "never"
    return f"{hours:7.2f}" + (f" ({hours / ours:.2f})" if ours else "")


if __name__ == "__main__":
    main()
