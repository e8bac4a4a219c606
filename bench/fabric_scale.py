"""How large a network can be asked about: collectives to 122,880 GPUs, a crowd of jobs over time, and what a plan buys.

1. One 1 GB hierarchical all-reduce on 1,024, 15,360 and 122,880 GPUs of HPN 7.0: wall and CPU seconds and peak memory
   of a fresh process, from building the network to the answer.
2. 15, 30, 60 and 120 jobs (64 to 512 GPUs, scattered, compute 0.2–1 s then an all-reduce of 1–8 GB) on a pod of 15,360
   for 60 simulated seconds: wall, events, cost per event, and how far sharing stretches the rounds.
3. A plan (rails, rank order by topology, disjoint paths, all algorithms) against none (one ring through shuffled ranks,
   hashed ports) on HPN: busbw ratio by size and scale.

    python -m bench.fabric_scale [--save]
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from bench.common import save
from roadbed.fabric import registry
from roadbed.fabric.base import Health
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.chooser import traffic_of
from roadbed.fabric.collective.program import TrainingLoop
from roadbed.fabric.collective.run import Job, PathOptions, goodput, prepare, price, time_s
from roadbed.fabric.collective.table import collective_rows
from roadbed.fabric.flows import simulate
from roadbed.fabric.layout import place

SCALES = (1024, 15_360, 122_880)


def one_scale(gpus: int) -> None:
    """In a process of its own: prints GPUs, wall s, CPU s, MiB, time of the collective."""
    begun = time.perf_counter()
    fabric = registry.build("hpn7", gpus=gpus)
    rows = collective_rows(fabric, "allreduce", [1 << 30], [place(fabric, gpus)], algorithm="hierarchical")
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter() - begun
    print(gpus, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, rows[0].time_s)


def scales() -> list[dict]:
    rows = []
    for gpus in SCALES:
        runs = []
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-m", "bench.fabric_scale", "--one", str(gpus)],
                check=True,
                capture_output=True,
                text=True,
            )
            runs.append([float(word) for word in done.stdout.split()])
        _, wall, cpu, mib, seconds = sorted(runs)[1] if len(runs) == 3 else runs[0]
        rows.append(
            {
                "gpus": gpus,
                "wall_s": round(wall, 2),
                "cpu_s": round(cpu, 2),
                "peak_mib": round(mib),
                "allreduce_ms": round(seconds * 1e3, 1),
            }
        )
        print(rows[-1])
    return rows


def crowd(num_jobs: int, seconds: float = 60.0) -> dict:
    fabric = registry.build("hpn7", gpus=15_360)
    rng = np.random.default_rng(0)
    free = rng.permutation(fabric.num_servers)
    jobs, plans, taken = [], [], 0
    for _ in range(num_jobs):
        servers = int(rng.choice([8, 8, 16, 16, 32, 64]))
        if taken + servers > len(free):
            break
        mine = np.sort(free[taken : taken + servers])
        taken += servers
        gpus = (mine[:, None] * 8 + np.arange(8)).ravel()
        ranks = ranks_of(fabric, gpus)
        jobs.append(Job("allreduce", ranks, traffic_of(fabric, "allreduce", ranks, "ring")))
        plans.append((float(rng.uniform(1, 8)) * 1e9, float(rng.uniform(0.2, 1.0)), float(rng.uniform(0, 1))))
    options = PathOptions(policy="ecmp")
    begun, cpu = time.perf_counter(), time.process_time()
    prepared = prepare(fabric, jobs, options)
    loops = [
        TrainingLoop(prepared, at, size=size, compute_s=compute, first_s=first)
        for at, (size, compute, first) in enumerate(plans)
    ]
    outcome = simulate(fabric, programs=loops, capacity=goodput(fabric, Health.of(fabric)), until_s=seconds)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    alone = [
        compute + time_s(price(fabric, [job], options).jobs[0], size)
        for job, (size, compute, _) in list(zip(jobs, plans, strict=True))[:20]
    ]
    stretch = [
        float(np.mean([one.finished_s - one.begun_s for one in loop.rounds[1:]])) / alone[at]
        for at, loop in enumerate(loops[: len(alone)]) if len(loop.rounds) > 1
    ]  # fmt: skip
    row = {
        "jobs": len(jobs), "gpus": taken * 8, "sessions": len(prepared.sessions),
        "wall_s": round(wall, 2), "cpu_s": round(cpu, 2),
        "events": outcome.num_events, "events_per_s": round(outcome.num_events / cpu),
        "us_per_event": round(cpu / outcome.num_events * 1e6), "rounds": sum(len(loop.rounds) for loop in loops),
        "stretch_mean": round(float(np.mean(stretch)), 3), "stretch_worst": round(max(stretch), 3),
    }  # fmt: skip
    print(row)
    return row


def plans() -> list[dict]:
    rows = []
    for gpus in (64, 448, 1024, 4096):
        fabric = registry.build("hpn7", gpus=gpus)
        sizes = [1 << (20 + 2 * at) for at in range(7)]
        planned = collective_rows(
            fabric,
            "allreduce",
            sizes,
            [place(fabric, gpus, order="planned")],
            menu="all",
            options=PathOptions(policy="disjoint"),
        )
        blind = collective_rows(
            fabric, "allreduce", sizes, [place(fabric, gpus, order="shuffled", seed=at) for at in range(3)],
            algorithm="flat_ring", options=PathOptions(policy="ecmp"),
        )  # fmt: skip
        usual = collective_rows(
            fabric, "allreduce", sizes, [place(fabric, gpus, how="scattered", seed=at) for at in range(3)],
            options=PathOptions(policy="ecmp"),
        )  # fmt: skip
        for at, size in enumerate(sizes):
            best, none, common = (row[at].busbw_gbytes_s for row in (planned, blind, usual))
            rows.append({
                "gpus": gpus, "bytes": size, "planned": round(best, 1), "algorithm": planned[at].algorithm,
                "blind": round(none, 2), "ratio": round(best / none, 1),
                "ratio_to_nccl_on_hashed_paths": round(best / common, 2),
            })  # fmt: skip
            print(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_scale(arguments.one)
        return
    rows = [*scales(), *(crowd(num) for num in (15, 30, 60, 120)), *plans()]
    if arguments.save:
        save("fabric_scale", "python -m bench.fabric_scale --save", rows)


if __name__ == "__main__":
    main()
