"""Scheduling overhead of live tasks: a thousand one-second tasks on this machine's slots.

Claim: a task costs little beyond its own second. A platform of its own is started, 1,000 tasks of one process that
sleeps one second are submitted in one go, each asking for a slice of a core so that `--slots` run at once. Reported:
submit → running for the tasks that find a free slot at once (p50, p99) and for all, the time a slot stands empty
between two tasks (the scheduling overhead per task), and CPU time of control and agent per task.

    python -m bench.tasks_live [--tasks 1000] [--slots 100] [--json] [--save]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.platform import Platform

from bench.common import save


def measure(num_tasks: int, num_slots: int) -> dict[str, Any]:
    """One platform, one run; seconds."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        platform = Platform(Path(folder) / "home", models)
        platform.up("--empty")
        try:
            return _run(platform, num_tasks, num_slots)
        finally:
            platform.down()


def _run(platform: Platform, num_tasks: int, num_slots: int) -> dict[str, Any]:
    control = platform.control
    cores = control.nodes()[0]["cpu"]
    specs = [
        {
            "kind": "task",
            "name": f"t{number}",
            "command": ["sleep", "1"],
            "resources": {"cpu": int(cores * 1000 / num_slots) / 1000, "memory": "8MiB"},
        }
        for number in range(num_tasks)
    ]
    before, began = _cpu_s(platform), time.time()
    for at in range(0, num_tasks, 1000):
        control.apply(specs[at : at + 1000])
    submitted_s = time.time() - began
    while True:
        if not control.tasks(everything=False, limit=1):
            break
        time.sleep(0.2)
    rows = control.tasks(limit=num_tasks)
    assert all(row["state"] == "finished" and row["attempt"] == 1 for row in rows), "a task did not finish at once"
    running = _running_at(control)
    waits = sorted(running[row["name"]] - row["submitted_at"] for row in rows)
    first = sorted(waits[:num_slots])
    makespan_s = max(row["ended_at"] for row in rows) - min(row["submitted_at"] for row in rows)
    ideal_s = -(-num_tasks // num_slots) * 1.0
    return {
        "target": "roadbed",
        "tasks": num_tasks,
        "slots": num_slots,
        "submit_s": round(submitted_s, 2),
        "first_wave_p50_s": round(_at(first, 0.5), 3),
        "first_wave_p99_s": round(_at(first, 0.99), 3),
        "submit_to_running_p99_s": round(_at(waits, 0.99), 2),
        "makespan_s": round(makespan_s, 2),
        "ideal_s": ideal_s,
        "overhead_per_task_s": round((makespan_s - ideal_s) * num_slots / num_tasks, 3),
        "cpu_ms_per_task": round((_cpu_s(platform) - before) / num_tasks * 1e3, 2),
    }


def _running_at(control: Any) -> dict[str, float]:
    """When each task's processes ran, from the events."""
    found: dict[str, float] = {}
    after = 0
    while True:
        page = control.events(after=after, limit=1000, noun="task")
        for event in page["events"]:
            if event["code"] == "task.running":
                found[event["name"]] = event["at"]
        if not page["events"]:
            return found
        after = int(page["next"])


def _cpu_s(platform: Platform) -> float:
    """User and system time of the platform's own processes."""
    total = 0.0
    for process in platform.processes():
        if "sleep" not in process.name():
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    row = measure(args.tasks, args.slots)
    if args.save:
        save("tasks_live", " ".join(["python -m bench.tasks_live", *sys.argv[1:]]), [row])
    print(json.dumps({"rows": [row]}) if args.json else json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
