"""What admission is worth, in the request twin: batch in gaps, honest retries, engines that would thrash.

batch     two fifths of the requests at the lowest priority: what is left for the others, beside all alike and alone
retry     a queue of 64, clients that always come back when told to: askings per request
starved   512 KV blocks on an engine whose waiting requests push running ones out, as DynoSim's do

python -m bench.serve_admission --trace mooncake_synthetic.jsonl [--parts batch,retry,starved]
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from roadbed.profiles import load
from roadbed.router.base import Decision
from roadbed.twin.serve import Server, Settings, World
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_figures import Outcomes
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_trace import Trace

PROFILE = "h200-llama-3.1-8b-fp8"
SLO_TTFT_S, SLO_ITL_S = 2.0, 0.025
USUAL, LAST = 5, 9


class Retries(World):
    """Counts what clients ask."""

    num_shed = 0

    def _carry_out(self, decision: Decision) -> None:
        self.num_shed += decision.kind == "shed"
        super()._carry_out(decision)


def world(trace: Trace, case: str, engine: Any = "prompt", kind: type[World] = World, **settings: Any) -> World:
    """REPLICAS/KV_BLOCKS/SPEEDUP."""
    replicas, kv_blocks, speedup = case.split("/")
    limits = Limits(kv_blocks=int(kv_blocks), block_tokens=trace.block_tokens, admission=engine)
    server = Server(step=load(PROFILE).variant().step, limits=limits)
    slo = Settings(speedup=float(speedup), slo_ttft_s=SLO_TTFT_S, slo_itl_s=SLO_ITL_S, **settings)
    return kind(trace, [server] * int(replicas), slo)


def show(name: str, outcomes: Outcomes, of: Any = slice(None)) -> None:
    ttft, itl = np.array(outcomes.ttft_s)[of], np.array(outcomes.itl_s)[of]
    good = ((ttft <= SLO_TTFT_S) & (itl <= SLO_ITL_S)).mean()
    rate = sum(outcomes.output_tokens) / np.nanmax(outcomes.end_s)
    print(
        f"{name:44} TTFT {np.nanmean(ttft) * 1e3:7.0f} p50 {np.nanmedian(ttft) * 1e3:7.0f} ms  ITL"
        f" {np.nanmean(itl) * 1e3:5.1f} ms  good {good:.3f}  preempted {outcomes.num_preemptions:5}  {rate:5.0f} tok/s"
    )


def only(trace: Trace, priority: Callable[[int], int | None]) -> Trace:
    """Those requests that have a priority, at it."""
    found = Trace(trace.name, trace.block_tokens)
    for at in range(len(trace)):
        asked = priority(at)
        if asked is not None:
            found.add(
                trace.arrival_s[at], trace.prompt_tokens[at], trace.output_tokens[at], trace.blocks[at],
                trace.session[at], asked,
            )  # fmt: skip
    return found


def batch(trace: Trace) -> None:
    rng = random.Random(5)
    is_batch = [rng.random() < 0.4 for _ in range(len(trace))]
    others = ~np.array(is_batch)
    for case in ("4/1845/2", "4/1845/3", "4/512/2"):
        show(f"{case} the others alone", world(only(trace, lambda at: None if is_batch[at] else USUAL), case).run())
        show(f"{case} all alike: the others", world(only(trace, lambda at: USUAL), case).run(), others)
        found = world(only(trace, lambda at: LAST if is_batch[at] else USUAL), case).run()
        show(f"{case} batch in gaps: the others", found, others)
        show(f"{case} batch in gaps: batch", found, ~others)


def retry(trace: Trace) -> None:
    for case in ("4/512/3", "4/512/4"):
        found = world(trace, case, kind=Retries, max_queue=64, max_wait_s=30.0, retries=1000)
        outcomes = found.run()
        assert isinstance(found, Retries)
        show(f"{case} askings per request {1 + found.num_shed / len(trace):.2f}", outcomes)


def starved(trace: Trace) -> None:
    for case in ("4/512/1", "4/512/2", "4/512/3"):
        for policy in ("roadbed", "dynamo_linear", "dynamo_tuned", "llmd_322"):
            show(f"{case} {policy}", world(trace, case, "displace", policy=policy).run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--parts", default="batch,retry,starved")
    asked = parser.parse_args()
    trace = read_trace(asked.trace)
    parts = {"batch": batch, "retry": retry, "starved": starved}
    for part in asked.parts.split(","):
        parts[part](trace)


if __name__ == "__main__":
    main()
