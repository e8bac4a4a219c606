"""Flow simulation: what a flow costs against how many others are active.

Claim: the cost of an event grows slower than the number of active flows: 100 … 100,000 on a pod of 15,360 GPUs, every
finished flow replaced by another between random GPUs. CPU time of this process, without drawing up paths. A flow is
three events (start, drain, arrival) and two solutions; `solved_per_flow` is how many rates they computed. Beside it the
cost of solving everything at once, which is what an event would cost, twice a flow, without the incremental solver.

Then, on 64 cards, completion times and speed beside a packet-level network (round robin with windows, the oracle of the
tests).

    python -m bench.fabric_flows [--most 100000] [--save]
"""

import argparse
import json
import time
from typing import Any

import numpy as np
from tests.fabric.packets import completion_s

from bench.common import save
from roadbed.fabric.base import Fabric
from roadbed.fabric.flows import Flows, Wide, simulate
from roadbed.fabric.maxmin import Sessions, share
from roadbed.fabric.paths import Paths, choose
from roadbed.fabric.registry import build
from roadbed.fabric.routes import Routes

GPUS = 15_360
EVENTS = 1_000
"""Flows replaced in one measurement."""


class Churn:
    """Keeps so many flows active: for each that arrives, the next of a pool is sent."""

    def __init__(self, paths: Paths, active: int, seed: int) -> None:
        self.paths, self.active = paths, active
        self.rng = np.random.default_rng(seed)
        self.sent = 0
        self.begun_s = self.spent_s = 0.0
        self.arrived = 0

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        if self.sent == 0:
            return self._some(self.active)
        if self.arrived == 0:
            self.begun_s = time.process_time()
        self.arrived += len(finished)
        self.spent_s = time.process_time() - self.begun_s
        return self._some(len(finished)) if self.arrived < EVENTS else None

    def _some(self, num: int) -> Flows:
        """Sizes from 1 MB to 1 GB, evenly over the orders of magnitude."""
        start = self.paths.start[self.sent : self.sent + num + 1]
        link = self.paths.link[start[0] : start[-1]]
        size = 10 ** self.rng.uniform(6, 9, num)
        latency = self.paths.latency_s[self.sent : self.sent + num]
        self.sent += num
        return Flows.of(Sessions.of(start - start[0], link), size, latency_s=latency)


class Enough(Exception):
    """The program has seen what it wanted; carries the simulated time."""


class Until:
    """Another program until it has seen enough."""

    def __init__(self, program: Churn) -> None:
        self.program = program

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        flows = self.program.next(now_s, finished)
        if flows is None:
            raise Enough(now_s)
        return flows


def churn(fabric: Fabric, routes: Routes, active: int, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    num = active + 2 * EVENTS
    src = rng.integers(0, fabric.num_gpus, num)
    dst = (src + rng.integers(1, fabric.num_gpus, num)) % fabric.num_gpus
    paths = choose(routes, fabric.gpu_nic[src], fabric.gpu_nic[dst], seed=seed)
    first = Sessions.of(paths.start[: active + 1], paths.link[: paths.start[active]])
    begun = time.process_time()
    share(fabric.capacity, first)
    whole_s = time.process_time() - begun
    end_s = 0.0
    try:
        simulate(fabric, programs=[Until(Churn(paths, active, seed))])
    except Enough as enough:
        end_s = enough.args[0]
    program = Churn(paths, active, seed)
    out = simulate(fabric, programs=[program], until_s=end_s)  # the same again, to its end in good order
    return {
        "active": active, "replaced": program.arrived, "cpu_us_per_flow": 1e6 * program.spent_s / program.arrived,
        "flows_per_cpu_s": program.arrived / program.spent_s, "events": out.num_events,
        "solved_per_flow": (out.num_solved - active) / program.arrived, "cpu_us_solving_all": 1e6 * whole_s,
    }  # fmt: skip


def packets(name: str, seed: int) -> dict[str, Any]:
    """100 flows of 9 to 45 MB between 64 cards at random, started within 1 ms: this model beside the packets of the
    tests."""
    fabric = build(name, gpus=64)
    rng = np.random.default_rng(seed)
    src = rng.integers(0, 64, 100)
    dst = (src + rng.integers(1, 64, 100)) % 64
    paths = choose(Routes(fabric), fabric.gpu_nic[src], fabric.gpu_nic[dst], seed=seed)
    size, start = rng.integers(1_000, 5_000, 100) * 9_000.0, rng.uniform(0, 1e-3, 100)
    begun = time.process_time()
    ours = simulate(fabric, Flows.along(paths, size, delay_s=start)).finish_s
    ours_s = time.process_time() - begun
    begun = time.process_time()
    theirs = np.array(completion_s(fabric, paths, size.tolist(), start.tolist(), 9_000.0))
    theirs_s = time.process_time() - begun
    error = np.abs(ours - theirs) / (theirs - start)
    return {
        "fabric": name, "flows": 100, "mean_error": float(error.mean()), "max_error": float(error.max()),
        "fluid_cpu_s": ours_s, "packets_cpu_s": theirs_s, "times_faster": theirs_s / ours_s,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    fabric = build("hpn7", gpus=GPUS)
    routes = Routes(fabric)
    rows = []
    for active in (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000):
        if active <= options.most:
            rows.append(churn(fabric, routes, active))
            print(json.dumps(rows[-1]))
    for name in ("hpn7", "dcn_plus", "single_tor"):
        rows.append(packets(name, 1))
        print(json.dumps(rows[-1]))
    if options.save:
        print(save("fabric-flows", "python -m bench.fabric_flows --save", rows))


if __name__ == "__main__":
    main()
