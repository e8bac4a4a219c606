"""Gangs of 8…512 accelerators on a pod of 15,360: how many segments they span, and whether large ones find a place.

1,920 servers of 8, sixteen to a segment. Gangs come in a random mix and random ones leave so that the load stays at 70
to 95 %; then, every hundred gangs, it is asked without placing it whether one more of 128, 256 and 512 would fit in as
few segments as it needs at least. Same arrivals and departures for every policy. Reported: segments spanned ÷ the least
possible (mean, worst), the widest spread of a group of 64 consecutive ranks, and the share of large gangs placeable.

    python -m bench.topology [--gangs 3000] [--seeds 3] [--save]
"""

import argparse
import json
import random
import time
from typing import Any

import numpy as np

from bench.common import save
from roadbed.scheduler.base import Gang, Placement, Shape, Topology
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.registry import make_planner
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.scheduler.tree import SEGMENT
from roadbed.spec.inventory import NodeInfo

NODES, PER_NODE, PER_SEGMENT = 1920, 8, 16
MIX = {8: 30, 16: 20, 32: 15, 64: 12, 128: 10, 256: 8, 512: 5}
LARGE = (128, 256, 512)
LOADS = (0.7, 0.8, 0.9, 0.95)
POLICIES = ("roadbed", "kube_tas", "bestfit")
SHAPE = Shape(num_devices=PER_NODE, cpu_milli=64_000)


def cluster(num: int = NODES) -> list[NodeInfo]:
    return [
        NodeInfo(
            name=f"n{at:05d}", cpu_milli=128_000, memory_mib=1 << 20, chip="H100", num_devices=PER_NODE,
            segment=f"s{at // PER_SEGMENT}",
        )
        for at in range(num)
    ]  # fmt: skip


def gang(size: int, *, compact: bool) -> Gang:
    topology = Topology(preferred="server") if compact else Topology()
    return Gang(shape=SHAPE, num=size // PER_NODE, topology=topology)


def segments(planner: TreePlanner, placement: Placement) -> np.ndarray:
    return planner.tree.of[SEGMENT][[slot.node for slot in placement.slots]]


def least(size: int) -> int:
    return -(-size // (PER_NODE * PER_SEGMENT))


def run(policy: str, load: float, num: int, seed: int) -> dict[str, Any]:
    state = State(cluster())
    planner = make_planner(policy, state, target_of([SHAPE]), np.random.default_rng(seed))
    compact = policy != "bestfit"
    rng = random.Random(seed)
    running: list[tuple[Gang, Placement, int]] = []
    used, spans, groups, asked, placeable, spent_s = 0, [], [], 0, 0, 0.0
    for at in range(num):
        size = rng.choices(list(MIX), list(MIX.values()))[0]
        leaving = [rng.random() for _ in range(64)]
        while used + size > load * NODES * PER_NODE:
            old, placement, amount = running.pop(int(leaving.pop() * len(running)))
            state.give_all(placement, old.shape)
            used -= amount
        one = gang(size, compact=compact)
        began_s = time.process_time()
        placement = planner.plan(one)
        spent_s += time.process_time() - began_s
        if placement is None:
            continue
        state.take_all(placement, one.shape)
        running.append((one, placement, size))
        used += size
        if at < num // 3:
            continue  # until the load has settled
        where = segments(planner, placement)
        if size in LARGE:
            spans.append(len(set(where.tolist())) / least(size))
        groups.append(max(len(set(where[first : first + 8].tolist())) for first in range(0, len(where), 8)))
        if at % 100 == 0:
            for large in LARGE:
                probe = planner.plan(gang(large, compact=compact))
                asked += 1
                placeable += probe is not None and len(set(segments(planner, probe).tolist())) == least(large)
    return {
        "policy": policy, "load": load, "seed": seed, "span_mean": round(float(np.mean(spans)), 3),
        "span_worst": round(max(spans), 2), "group_spread_max": max(groups),
        "group_spread_mean": round(float(np.mean(groups)), 3), "large_placeable": round(placeable / asked, 3),
        "gangs_per_s": round(num / spent_s),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gangs", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = []
    for load in LOADS:
        for policy in POLICIES:
            for seed in range(1, options.seeds + 1):
                rows.append(run(policy, load, options.gangs, seed))
                print(json.dumps(rows[-1]), flush=True)
    if options.save:
        print(save("topology", "python -m bench.topology --save", rows))


if __name__ == "__main__":
    main()
