"""Half an hour's worth of traffic, compressed: memory, files and threads of a gateway worker must stay flat.

    python -m bench.soak [--seconds 60] [--json] [--save]

One worker in front of a stub engine gets unary and streaming requests, clients that leave, wrong keys, wrong bodies,
oversized heads and connections that say nothing, as fast as it takes them. Half an hour of a busy worker at 30 requests
a second is 54,000 requests. A first part warms caches and allocators; from there on anonymous memory may grow by at
most 2 MiB, and file descriptors and threads not at all once the clients are gone.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from bench.common import KEY, free_port, gateway_home, pinned, rss_mib, save, wait_port
from bench.load import payload

MAX_GROWTH_MIB = 2.0


def counts(pid: int) -> tuple[float, int, int]:
    """(anonymous MiB, open files, threads). The mapped usage segment fills up and is handed over: not ours to count."""
    process = Path(f"/proc/{pid}")
    return rss_mib(pid, "RssAnon:"), len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


async def one(port: int, rng: random.Random) -> str:
    """One client's visit; returns what it was."""
    kind = rng.choices(
        ["unary", "stream", "leave", "wrong_key", "wrong_body", "big_head", "silent"], [70, 8, 6, 6, 6, 2, 2]
    )[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if kind in ("unary", "stream", "leave"):
            size = rng.choice((100, 2_000, 20_000))
            writer.write(payload(port, KEY, stream=kind != "unary", prompt_bytes=size))
        elif kind == "wrong_key":
            writer.write(payload(port, "rb_bench_wrong", stream=False, prompt_bytes=100))
        elif kind == "wrong_body":
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode()
            writer.write(head + b'content-length: 9\r\n\r\n{"model":')
        elif kind == "big_head":
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 50_000)
        if kind == "silent":
            await asyncio.sleep(0.01)
            return kind
        await reader.readuntil(b"\r\n\r\n")
        if kind == "stream":
            while not (await reader.read(65_536)).endswith(b"0\r\n\r\n"):
                pass
        elif kind == "unary":
            await reader.read(65_536)
        return kind
    finally:
        writer.close()


async def traffic(port: int, seconds: float, seed: int) -> dict[str, int]:
    """Sixteen clients, each visiting again and again; counts by kind."""
    done: dict[str, int] = {}
    end = time.monotonic() + seconds

    async def visitor(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        while time.monotonic() < end:
            try:
                kind = await one(port, rng)
            except (ConnectionError, asyncio.IncompleteReadError):
                kind = "cut"
            done[kind] = done.get(kind, 0) + 1

    await asyncio.gather(*(visitor(number) for number in range(16)))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        upstream, port = free_port(), free_port()
        stub = pinned(1, [sys.executable, "-m", "bench.stub", str(upstream)], folder / "stub.log")
        home = gateway_home(folder / "home", port, [upstream])
        argv = [sys.executable, "-m", "roadbed.gateway.worker", "--home", str(home.root), "--index", "0"]
        worker = pinned(0, argv, folder / "worker.log")
        try:
            wait_port(upstream)
            wait_port(port)
            asyncio.run(traffic(port, args.seconds / 4, 1))
            time.sleep(1.5)
            before = counts(worker.pid)
            done = asyncio.run(traffic(port, args.seconds, 2))
            time.sleep(1.5)
            after = counts(worker.pid)
            tracebacks = (folder / "worker.log").read_text().count("Traceback")
        finally:
            for process in (worker, stub):
                process.kill()
                process.wait()
    row = {
        "visits": sum(done.values()), "by_kind": done, "tracebacks": tracebacks,
        "anon_mib": [round(before[0], 1), round(after[0], 1)], "fds": [before[1], after[1]],
        "threads": [before[2], after[2]],
    }  # fmt: skip
    ok = (
        after[0] - before[0] <= MAX_GROWTH_MIB
        and after[1] <= before[1] + 4
        and after[2] <= before[2]
        and not tracebacks
    )
    row["ok"] = ok
    if args.save:
        save("soak", " ".join(["python -m bench.soak", *sys.argv[1:]]), [row])
    print(json.dumps({"rows": [row]}) if args.json else json.dumps(row, indent=1))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
