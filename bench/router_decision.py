"""CPU time of one routing decision, and of a request's whole life in the router.

Claim: at most 100 µs of CPU per decision at 64 replicas with 2k-token prompts (8 KiB, 32 blocks), hashing included.
A third of the requests continue a cached prefix; the pool is half busy; process CPU time, best of several rounds.

    python bench/router_decision.py [--policy roadbed] [--json]
"""

import argparse
import json
import random
import time
from typing import Any

from roadbed.router.account import MemoryAccount
from roadbed.router.base import Features, ReplicaInfo
from roadbed.router.blocks import chain
from roadbed.router.core import RouterCore

BLOCK_BYTES = 256
POOLS = (1, 2, 8, 64, 1000)


def prompts(num: int, rng: random.Random, num_bytes: int = 8192) -> list[bytes]:
    """A third share three quarters of the prompt with one of 20 families, the rest are fresh."""
    heads = [rng.randbytes(num_bytes * 3 // 4) for _ in range(20)]
    return [
        rng.choice(heads) + rng.randbytes(num_bytes // 4) if rng.random() < 0.33 else rng.randbytes(num_bytes)
        for _ in range(num)
    ]


def measure(num_replicas: int, policy: str, num_requests: int, num_rounds: int, prompt_bytes: int) -> dict[str, Any]:
    """µs of CPU: chain (hashing), arrive (the decision), whole (hashing to finish). Minimum over rounds."""
    best = {"chain_us": float("inf"), "arrive_us": float("inf"), "whole_us": float("inf")}
    for round_index in range(num_rounds):
        core = RouterCore(account=MemoryAccount().view(), policy=policy, seed=round_index, block_bytes=BLOCK_BYTES)
        pool = [ReplicaInfo(id=f"r{i}", slot=i, max_concurrency=64, kv_tokens=262_144) for i in range(num_replicas)]
        core.set_replicas(pool, 0.0)
        bodies = prompts(num_requests, random.Random(round_index), prompt_bytes)
        spent = drive(core, bodies, in_flight=16 * num_replicas)
        best = {name: min(best[name], spent[name] / num_requests * 1e6) for name in best}
    return {
        "replicas": num_replicas,
        "prompt_bytes": prompt_bytes,
        "policy": policy,
        **{name: round(value, 2) for name, value in best.items()},
    }


def drive(core: RouterCore, bodies: list[bytes], in_flight: int) -> dict[str, float]:
    """Runs the requests through the core with a fixed number in flight; returns CPU seconds by part."""
    clock = time.process_time
    chain_s = arrive_s = 0.0
    now = 1.0
    running: list[str] = []
    began = clock()
    for index, body in enumerate(bodies):
        now += 0.001
        t0 = clock()
        blocks = chain(body, 0, core.block_bytes)
        t1 = clock()
        request_id = f"q{index}"
        features = Features(
            request_id=request_id, blocks=blocks, block_tokens=core.block_tokens, prompt_bytes=len(body),
            prompt_tokens=core.prompt_tokens(len(body)), output_tokens=core.output_tokens(None),
        )  # fmt: skip
        core.arrive(features, now)
        t2 = clock()
        chain_s += t1 - t0
        arrive_s += t2 - t1
        core.first_byte(request_id, now + 0.0005)
        running.append(request_id)
        if len(running) > in_flight:
            core.finish(
                running.pop(0),
                now,
                outcome_ok=True,
                prompt_tokens=len(body) // 4,
                cached_tokens=None,
                completion_tokens=100,
            )
    return {"chain_us": chain_s, "arrive_us": arrive_s, "whole_us": clock() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--policy", default="roadbed")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-bytes", type=int, default=8192)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(num, options.policy, options.requests, options.rounds, options.prompt_bytes) for num in POOLS]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'replicas':>8} {'hash µs':>8} {'decision µs':>12} {'whole life µs':>14}   ({options.policy})")
    for row in rows:
        print(f"{row['replicas']:>8} {row['chain_us']:>8} {row['arrive_us']:>12} {row['whole_us']:>14}")


if __name__ == "__main__":
    main()
