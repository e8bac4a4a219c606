"""Decisions per second of the whole scheduler on one core, and what a node costs in memory.

Claims: ≥ 5,000 decisions/s at 1,213 nodes (openb's machines and pods, filled up), ≥ 1,500 at 10,000 × 8 with churn,
≥ 200 gangs/s at 100,000 accelerators with three-level topology. A decision is a job submitted and started through the
Scheduler object (events, quotas, queue, placement). CPU time of this process.

    python -m bench.scheduler_speed DATA [--save]
"""

import argparse
import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import save
from roadbed.scheduler.base import Gang, Job, Shape, Topology
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.events import Exited, Start, Started, Submit
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.registry import make_planner
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.openb import read_nodes, read_pods

FILL = 0.9


def hall(num: int, per_segment: int = 16, segments_per_pod: int = 120) -> list[NodeInfo]:
    return [
        NodeInfo(
            name=f"n{at:05d}", cpu_milli=128_000, memory_mib=1 << 20, chip="H100", num_devices=8,
            segment=f"s{at // per_segment}", pod=f"p{at // per_segment // segments_per_pod}",
        )
        for at in range(num)
    ]  # fmt: skip


def small_gang(rng: random.Random) -> Gang:
    """What a shared cluster sees: fractions, single devices, a few servers."""
    kind = rng.random()
    if kind < 0.3:
        return Gang(shape=Shape(num_devices=1, milli=rng.choice([250, 500]), cpu_milli=4000))
    num = rng.choice([1, 1, 1, 2, 4, 8])
    return Gang(shape=Shape(num_devices=num, cpu_milli=8000 * num))


def large_gang(rng: random.Random) -> Gang:
    """8…512 accelerators; each 8 in a server, each 128 in a segment, preferably in one segment, all in one pod."""
    size = rng.choices([8, 16, 32, 64, 128, 256, 512], [30, 20, 15, 12, 10, 8, 5])[0]
    slices: tuple[tuple[int, Any], ...] = ((128, "segment"),) if size > 128 else ()
    topology = Topology(preferred="segment" if size <= 128 else None, required="pod", slices=slices)
    return Gang(shape=Shape(num_devices=8, cpu_milli=64_000), num=size // 8, topology=topology)


def churn(
    nodes: Sequence[NodeInfo], make: Callable[[random.Random], Gang], num: int, num_fill: int, seed: int = 1
) -> dict[str, Any]:
    """Fills to 90 %, then as many leave as come; counts only the second part."""
    rng = random.Random(seed)
    gangs = [make(rng) for _ in range(num + num_fill)]
    state = State(nodes)
    scheduler = Scheduler(
        state, make_planner("roadbed", state, target_of(g.shape for g in gangs), np.random.default_rng(1))
    )
    running: list[tuple[str, int]] = []
    used, now, begun, started, spent_s, slowest_s = 0, 0.0, 0, 0, 0.0, 0.0
    limit = FILL * state.total_milli
    for at, gang in enumerate(gangs):
        now += 0.01
        full = used + gang.total_milli > limit
        while used + gang.total_milli > limit:
            id_, amount = running.pop(rng.randrange(len(running)))
            used -= amount
            scheduler.handle(Exited(id_), now)
        began_s = time.process_time()
        scheduler.handle(Submit(Job(id=f"j{at}", gang=gang, duration_s=3600.0, submit_s=now)), now)
        decisions = scheduler.decide(now)
        took_s = time.process_time() - began_s
        for decision in decisions:
            if isinstance(decision, Start):
                scheduler.handle(Started(decision.id), now)
                amount = gangs[int(decision.id[1:])].total_milli
                running.append((decision.id, amount))
                used += amount
        if full:
            begun += 1
            started += len(decisions)
            spent_s += took_s
            slowest_s = max(slowest_s, took_s)
            if begun == num:
                break
    return {
        "nodes": len(nodes), "devices": state.total_milli // 1000, "jobs": begun, "started": started,
        "decisions_per_s": round(begun / spent_s), "slowest_ms": round(1000 * slowest_s, 1),
    }  # fmt: skip


def filled(data: Path) -> dict[str, Any]:
    """openb's pods, each submitted to the scheduler until 93 % of the devices are asked for."""
    nodes, shapes = (
        read_nodes(data / "openb_node_list_gpu_node.csv"),
        [p.shape for p in read_pods(data / "openb_pod_list_default.csv")],
    )
    state = State(nodes)
    planner: TreePlanner = make_planner("roadbed", state, target_of(shapes), np.random.default_rng(1))
    scheduler = Scheduler(state, planner)
    random.Random(1).shuffle(shapes)
    jobs = [Job(id=f"j{at}", gang=Gang(shape=shape), duration_s=3600.0) for at, shape in enumerate(shapes)]
    asked, num, began_s = 0, 0, time.process_time()
    for at, job in enumerate(jobs):
        asked += job.gang.total_milli
        if asked > 0.93 * state.total_milli:
            break
        scheduler.handle(Submit(job), float(at))
        num += len(scheduler.decide(float(at)))
    spent_s = time.process_time() - began_s
    return {
        "nodes": len(nodes),
        "devices": state.total_milli // 1000,
        "jobs": at,
        "started": num,
        "decisions_per_s": round(at / spent_s),
    }


def memory() -> dict[str, Any]:
    """Bytes per node of a scheduler that has placed something, without the inventory itself."""
    nodes = hall(10_000)
    tracemalloc.start()
    state = State(nodes)
    shape = Shape(num_devices=1, cpu_milli=4000)
    scheduler = Scheduler(state, make_planner("roadbed", state, target_of([shape]), np.random.default_rng(1)))
    scheduler.handle(Submit(Job(id="a", gang=Gang(shape=shape))), 0.0)
    scheduler.decide(0.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {"kind": "memory", "nodes": len(nodes), "bytes_per_node": round(size / len(nodes))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="?", default=os.environ.get("ROADBED_BENCH_DATA"), type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder with the traces, or set ROADBED_BENCH_DATA")
    rows: list[dict[str, Any]] = [{"kind": "openb fill", **filled(Path(options.data) / "openb")}]
    print(json.dumps(rows[-1]), flush=True)
    for kind, make_row in (
        ("churn 10,000 × 8", lambda: churn(hall(10_000), small_gang, 4000, 40_000)),
        ("gangs on 100,000", lambda: churn(hall(12_500), large_gang, 1000, 2500)),
    ):
        rows.append({"kind": kind, **make_row()})
        print(json.dumps(rows[-1]), flush=True)
    rows.append(memory())
    print(json.dumps(rows[-1]), flush=True)
    if options.save:
        print(save("scheduler-speed", "python -m bench.scheduler_speed DATA --save", rows))


if __name__ == "__main__":
    main()
