"""Autoscaling on real engines: what a wake from zero costs beside the engine's start, and what a lost replica costs.

Claims: (1) the first request of a service at zero waits for the engine to start and hardly more; (2) a replica killed
under load costs no client its answer, while none of it has been sent. A platform of its own with the default model.

1. A service of 0..1 is left to fall asleep and asked again, `--wakes` times: request → decision → process → ready →
   first event, from the events and at the client.
2. Two replicas under `--clients` clients that want whole answers; one is killed −9 every few seconds, `--kills` times.

    python -m bench.scaling_live [--wakes 8] [--kills 5] [--clients 4] [--json] [--save]
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.platform import Platform, until
from tests.e2e.test_scaling import whole
from tests.e2e.test_survival import stream

from bench.common import save
from roadbed.home import find_home
from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore

NAP = {
    "kind": "service", "name": "nap", "model": DEFAULT_MODEL, "engine": {"kind": "llamacpp", "parallel": 2},
    "scaling": {"idle": "3s", "interval": "1s"}, "resources": {"cpu": 0.5, "memory": "600MiB"},
}  # fmt: skip
KILL_EVERY_S = 6.0
"""After the return of the one before. A request that has lost three replicas is given up, rightly: it may be why."""


@contextmanager
def running(replicas: str) -> Iterator[Platform]:
    """A platform with the service on a range of replicas."""
    models = ModelStore(find_home().models)
    models.pull(resolve(DEFAULT_MODEL), expected_sha256(DEFAULT_MODEL))
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(Path(folder) / "home", find_home().models)
        platform.up("--empty")
        try:
            platform.control.apply([NAP | {"replicas": replicas}])
            time.sleep(1.0)  # gateways have heard of it
            yield platform
        finally:
            platform.down()


def wake(platform: Platform) -> dict[str, float]:
    """One wake; seconds after the request."""
    until(lambda: not platform.control.service("nap")["replicas"], 120, "sleep")
    wall, began = time.time(), time.monotonic()
    answer = stream(platform, "Hello", 1)
    total_s = time.monotonic() - began
    assert answer.done, "the first request after sleep was answered"
    events = {e["code"]: e for e in platform.control.events(newest=True, limit=50)["events"] if e["at"] >= wall}
    start_s = events["replica.ready"]["data"]["after_s"]
    return {
        "decision": events["service.scaled"]["at"] - wall,
        "process": events["replica.starting"]["at"] - wall,
        "ready": events["replica.ready"]["at"] - wall,
        "answered": total_s,
        "start": start_s,
        "beside_start": total_s - start_s,
    }


def lose(platform: Platform, num_clients: int, num_kills: int) -> dict[str, Any]:
    """Kills under load; what clients got, and how many replicas each request took."""
    platform.run("scale", "nap", "2")
    stop = threading.Event()

    def keep_asking(client: int) -> list[int]:
        statuses = []
        while not stop.is_set():
            statuses.append(whole(platform, f"Tell story {client} number {len(statuses)}.", 32))
        return statuses

    with ThreadPoolExecutor(num_clients) as pool:
        asking = [pool.submit(keep_asking, client) for client in range(num_clients)]
        for number in range(num_kills):
            time.sleep(KILL_EVERY_S)
            platform.kill(f"service-nap-{number % 2}")
            until(lambda: not platform.healthy(), 20, "the loss")
            until(platform.healthy, 60, "its return")
        stop.set()
        statuses = Counter(status for future in asking for status in future.result())
    until(lambda: len(platform.usage_rows()) >= statuses.total(), 30, "the ledger's rows")
    tries = Counter(row["tries"] for row in platform.usage_rows())
    return {"statuses": dict(statuses), "tries": dict(sorted(tries.items())), "kills": num_kills}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the result in bench/results")
    options = parser.parse_args()
    with running("0..1") as platform:
        wakes = [wake(platform) for _ in range(options.wakes)]
    with running("1..2") as platform:
        lost = lose(platform, options.clients, options.kills)
    result = {
        "target": "roadbed",
        "wakes": options.wakes,
        "wake_s": {
            name: {
                "p50": round(statistics.median(one[name] for one in wakes), 3),
                "max": round(max(one[name] for one in wakes), 3),
            }
            for name in wakes[0]
        },
        "clients": options.clients,
        "lost": lost,
    }
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result["wake_s"].items():
            print(f"{name:14} p50 {value['p50']:.3f} s   max {value['max']:.3f} s")
        print(f"answers by status {lost['statuses']}, by tries {lost['tries']}, after {lost['kills']} kills")
    if options.save:
        save("scaling_live", " ".join(["python -m bench.scaling_live", *sys.argv[1:]]), [result])
    sys.exit(set(lost["statuses"]) != {200})


if __name__ == "__main__":
    main()
