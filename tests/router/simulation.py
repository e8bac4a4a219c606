"""A small deterministic pool to try policies on: replicas with one prefill at a time, parallel decoding and an LRU
prefix cache of their own, which the router only hears of through usage reports."""

import heapq
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from roadbed.router.account import MemoryAccount
from roadbed.router.base import Decision, Features
from roadbed.router.core import RouterCore
from tests.router.requests import info, request

BLOCK_TOKENS = 64


@dataclass
class SimReplica:
    """True behaviour: prefill at `prefill_s` per token, one after another; steps lengthen with company."""

    prefill_s: float = 0.0004
    step_s: float = 0.01
    cache_blocks: int = 600
    free_at: float = 0.0
    running: int = 0
    cache: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def start(self, features: Features, now: float) -> tuple[float, float, int]:
        """(first byte at, finished at, cached tokens)"""
        cached = 0
        for block in features.blocks:
            if block not in self.cache:
                break
            cached += BLOCK_TOKENS
        cached = min(cached, features.prompt_tokens - 1)
        for block in reversed(features.blocks):
            self.cache[block] = None
            self.cache.move_to_end(block)
        while len(self.cache) > self.cache_blocks:
            self.cache.popitem(last=False)
        self.running += 1
        began = max(now, self.free_at)
        self.free_at = began + 0.005 + self.prefill_s * (features.prompt_tokens - cached)
        decode_s = features.output_tokens * self.step_s * (1 + 0.1 * self.running)
        return self.free_at, self.free_at + decode_s, cached


@dataclass
class Result:
    ttfts_s: list[float]
    by_slot: Counter[int]
    reasons: Counter[str]
    num_shed: int
    hit_rate: float

    @property
    def mean_ttft_s(self) -> float:
        return sum(self.ttfts_s) / len(self.ttfts_s)


def conversations(num: int, rate: float, seed: int, num_families: int = 12) -> list[tuple[float, Features]]:
    """Poisson arrivals; each request continues one of a few long shared prefixes by a little of its own."""
    rng = random.Random(seed)
    now, arrivals = 0.0, []
    for index in range(num):
        now += rng.expovariate(rate)
        family, length = rng.randrange(num_families), rng.randrange(20, 40)
        blocks = [family << 32 | depth for depth in range(length)] + [1 << 60 | index << 8 | d for d in range(3)]
        arrivals.append((now, request(f"q{index}", blocks=blocks, output=rng.randrange(10, 60))))
    return arrivals


def run(
    policy: str, pool: list[SimReplica], arrivals: list[tuple[float, Features]], *, concurrency: int = 16
) -> Result:
    """Plays the arrivals against the pool; time is simulated."""
    core = RouterCore(account=MemoryAccount().view(), policy=policy, seed=1, max_queue=10_000, max_wait_s=1e9)
    core.set_replicas(
        [
            info(slot, concurrency=concurrency, kv_tokens=pool[slot].cache_blocks * BLOCK_TOKENS)
            for slot in range(len(pool))
        ],
        0.0,
    )
    events: list[tuple[float, int, str, Features, int]] = []
    for order, (at, features) in enumerate(arrivals):
        heapq.heappush(events, (at, order, "arrive", features, 0))
    arrived = {features.request_id: at for at, features in arrivals}
    known = {features.request_id: features for _, features in arrivals}
    result = Result([], Counter(), Counter(), 0, 0.0)
    cached_total = 0

    def carry_out(decisions: list[Decision], now: float) -> None:
        nonlocal cached_total
        for decision in decisions:
            if decision.kind == "shed":
                result.num_shed += 1
            if decision.kind != "go":
                continue
            features = known[decision.request_id]
            first, end, cached = pool[decision.slot].start(features, now)
            cached_total += cached
            result.by_slot[decision.slot] += 1
            result.reasons[decision.reason] += 1
            heapq.heappush(events, (first, len(arrivals), f"first {features.request_id}", features, decision.slot))
            heapq.heappush(events, (end, len(arrivals), f"last {features.request_id}", features, cached))

    slots: dict[str, int] = {}
    while events:
        now, _, what, features, number = heapq.heappop(events)
        name = features.request_id
        if what == "arrive":
            carry_out([core.arrive(features, now)], now)
        elif what.startswith("first"):
            slots[name] = number
            result.ttfts_s.append(now - arrived[name])
            core.first_byte(name, now)
        else:
            pool[slots[name]].running -= 1
            released = core.finish(
                name, now, outcome_ok=True, prompt_tokens=features.prompt_tokens, cached_tokens=number,
                completion_tokens=features.output_tokens,
            )  # fmt: skip
            carry_out(released, now)
    result.hit_rate = cached_total / sum(features.prompt_tokens for features in known.values())
    return result
