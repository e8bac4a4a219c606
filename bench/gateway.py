"""The gateway beside its peer `smg` and a direct connection: what does a request cost?

    python -m bench.gateway [--seconds 3] [--repeats 3] [--json] [--save]

Every target runs pinned to core 0; the stub engine and the load generator share core 1. The targets take turns within
each repeat, so that a noisy machine is equally noisy to all, and the median of the repeats counts. CPU is the target
process's user and system time per request. Ours has authentication, limits, routing, metering and metrics switched on.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.common import (
    KEY,
    cpu_s,
    free_port,
    gateway_home,
    gateway_process,
    pinned,
    rss_mib,
    run_pinned,
    save,
    wait_port,
)

TARGETS = ("direct", "roadbed", "smg:round_robin", "smg:cache_aware")
IDLE_CONNECTIONS = 10_000


@contextmanager
def running(target: str, folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    """(port, pid) of a target; pid 0 for the direct connection."""
    if target == "direct":
        yield upstream, 0
        return
    port = free_port()
    home = gateway_home(folder / "home", port, [upstream])
    with gateway_process(target, home, port, [upstream], folder / "gateway.log") as pid:
        _wait_answer(port)
        yield port, pid


def _wait_answer(port: int) -> None:
    for _ in range(60):
        if run_pinned(1, "bench.load", "unary", port, "--key", KEY, "--seconds", 0.3, "--concurrency", 1)["requests"]:
            return
    raise TimeoutError(f"port {port} never answered a request")


def measure(port: int, pid: int, seconds: float) -> dict[str, float]:
    """One round: unary under load, streams, and one request at a time."""
    before = cpu_s(pid) if pid else 0.0
    unary = run_pinned(1, "bench.load", "unary", port, "--key", KEY, "--seconds", seconds, "--concurrency", 32)
    between = cpu_s(pid) if pid else 0.0
    stream = run_pinned(1, "bench.load", "stream", port, "--key", KEY, "--seconds", seconds, "--concurrency", 200)
    after = cpu_s(pid) if pid else 0.0
    single = run_pinned(1, "bench.load", "unary", port, "--key", KEY, "--seconds", seconds, "--concurrency", 1)
    if unary["errors"] or stream["errors"] or single["errors"]:
        raise RuntimeError(f"errors: {unary['errors']} unary, {stream['errors']} stream, {single['errors']} single")
    return {
        "cpu_us_per_request": (between - before) / unary["requests"] * 1e6,
        "cpu_us_per_chunk": (after - between) / stream["chunks"] * 1e6,
        "rps": unary["rps"],
        "p50_ms": single["p50_ms"],
        "p99_ms": single["p99_ms"],
    }


def memory(port: int, pid: int) -> float:
    """RSS with ten thousand idle connections, all of which must stay open."""
    argv = [
        sys.executable,
        "-m",
        "bench.load",
        "idle",
        str(port),
        "--connections",
        str(IDLE_CONNECTIONS),
        "--seconds",
        "4",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        rss = rss_mib(pid)
        alive = json.loads(idle.stdout.readline())["alive"]
    if alive != IDLE_CONNECTIONS:
        raise RuntimeError(f"only {alive} of {IDLE_CONNECTIONS} idle connections survived")
    return rss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write bench/results/gateway-<date>.json")
    args = parser.parse_args()
    targets = [name for name in TARGETS if name in args.targets.split(",")]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    rss: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        upstream = free_port()
        stub = pinned(1, [sys.executable, "-m", "bench.stub", str(upstream)], Path(temporary) / "stub.log")
        try:
            wait_port(upstream)
            for repeat in range(args.repeats):
                for name in targets:
                    print(f"round {repeat + 1}/{args.repeats}: {name}", file=sys.stderr, flush=True)
                    folder = Path(temporary) / f"{repeat}-{name.replace(':', '-')}"
                    folder.mkdir()
                    with running(name, folder, upstream) as (port, pid):
                        rounds[name].append(measure(port, pid, args.seconds))
                        if pid and repeat == 0:
                            rss[name] = memory(port, pid)
        finally:
            stub.kill()
            stub.wait()
    rows = summarise(rounds, rss)
    if args.save:
        save("gateway", " ".join(["python -m bench.gateway", *sys.argv[1:]]), rows)
    if args.json:
        print(json.dumps({"rows": rows}))
    else:
        show(rows)


def summarise(rounds: dict[str, list[dict[str, float]]], rss: dict[str, float]) -> list[dict]:
    """Medians per target; added latency is against the direct connection of the same round."""
    rows = []
    for name, results in rounds.items():
        direct = rounds.get("direct", results)

        def median(key: str, results: list[dict[str, float]] = results) -> float:
            return statistics.median(result[key] for result in results)

        def added(
            key: str, results: list[dict[str, float]] = results, direct: list[dict[str, float]] = direct
        ) -> float:
            return statistics.median(mine[key] - base[key] for mine, base in zip(results, direct, strict=True))

        rows.append(
            {
                "target": name,
                "cpu_us_per_request": round(median("cpu_us_per_request"), 1),
                "cpu_us_per_chunk": round(median("cpu_us_per_chunk"), 1),
                "rps": round(median("rps")),
                "added_p50_ms": round(added("p50_ms"), 3),
                "added_p99_ms": round(added("p99_ms"), 3),
                "rss_mib": round(rss.get(name, 0.0), 1),
            }
        )
    return rows


def show(rows: list[dict]) -> None:
    """A table, and how many requests per CPU-second ours answers for each of the peer's."""
    print(f"{'target':18}{'µs/request':>12}{'µs/chunk':>10}{'req/s':>9}{'+p50 ms':>9}{'+p99 ms':>9}{'RSS MiB':>9}")
    for row in rows:
        print(
            f"{row['target']:18}{row['cpu_us_per_request']:12}{row['cpu_us_per_chunk']:10}{row['rps']:9}"
            f"{row['added_p50_ms']:9}{row['added_p99_ms']:9}{row['rss_mib']:9}"
        )
    ours = next((row for row in rows if row["target"] == "roadbed"), None)
    for row in rows:
        if ours and row["target"].startswith("smg"):
            ratio = row["cpu_us_per_request"] / ours["cpu_us_per_request"]
            print(f"requests per CPU-second, roadbed : {row['target']} = {ratio:.2f}")


if __name__ == "__main__":
    main()
