"""What every routing policy is: a choice among replicas that may take the request."""

import random
from collections.abc import Sequence
from typing import Protocol

from roadbed.router.base import Features
from roadbed.router.prefix import PrefixIndex
from roadbed.router.replica import Replica


class Context:
    """What a policy may know besides the request and the replicas.

    matched_blocks: by replica bit, leading prompt blocks it is believed to hold or to be computing. computed_blocks:
    those before the first that is still being computed (the same list when none is). sticky_slot: that of the session's
    last turn, −1 = none. sticky_tokens: prompt tokens cached there if that turn is being continued. num_waiting:
    requests in the queue, delayed, too, by whatever this choice costs. num_open: candidates that may be sent to now;
    those behind them are full and can only be held for.
    """

    __slots__ = (
        "computed_blocks",
        "matched_blocks",
        "now",
        "num_open",
        "num_waiting",
        "prefix",
        "rng",
        "sticky_slot",
        "sticky_tokens",
    )

    def __init__(
        self,
        now: float,
        matched_blocks: list[int],
        prefix: PrefixIndex,
        sticky_slot: int,
        sticky_tokens: int,
        num_waiting: int,
        rng: random.Random,
        computed_blocks: list[int] | None = None,
        num_open: int = 1_000_000,
    ) -> None:
        self.num_open = num_open
        self.now = now
        self.matched_blocks = matched_blocks
        self.computed_blocks = matched_blocks if computed_blocks is None else computed_blocks
        self.prefix = prefix
        self.sticky_slot = sticky_slot
        self.sticky_tokens = sticky_tokens
        self.num_waiting = num_waiting
        self.rng = rng


class Choice:
    """`pick` is an index into the candidates, `ttft_s` what is predicted there. hold: wait for it, do not send yet."""

    __slots__ = ("hold", "matched_tokens", "pick", "reason", "ttft_s")

    def __init__(self, pick: int, reason: str, ttft_s: float, matched_tokens: int, hold: bool = False) -> None:
        self.hold = hold
        self.pick = pick
        self.reason = reason
        self.ttft_s = ttft_s
        self.matched_tokens = matched_tokens


class Policy(Protocol):
    """May keep state of its own (a counter); one instance per service and worker."""

    name: str
    uses_prefix: bool
    """False: the core keeps no prefix index for it."""
    holds: bool
    """True: full replicas are offered, too, and it may hold a request for one."""

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        """Picks one of the candidates (never empty, in slot order). Deterministic but for context.rng."""
        ...


def blind(index: int, reason: str, features: Features, candidates: Sequence[Replica]) -> Choice:
    """The choice of a policy that knows nothing of caches."""
    return Choice(index, reason, predict_ttft_s(candidates[index], features.prompt_tokens), 0)


def informed(index: int, reason: str, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
    """The choice of a policy that knows what is cached there."""
    matched = matched_tokens(features, candidates[index], context)
    return Choice(index, reason, predict_ttft_s(candidates[index], features.prompt_tokens - matched), matched)


def lowest(scores: Sequence[float], rng: random.Random) -> int:
    """Index of the lowest score; equal ones by chance."""
    best = min(scores)
    tied = [index for index, score in enumerate(scores) if score == best]
    return tied[0] if len(tied) == 1 else rng.choice(tied)


def highest(scores: Sequence[float], rng: random.Random) -> int:
    """Index of the highest score; equal ones by chance."""
    return lowest([-score for score in scores], rng)


def matched_tokens(features: Features, replica: Replica, context: Context) -> int:
    """Prompt tokens believed to be cached on the replica; at least one is always left to prefill."""
    matched = context.matched_blocks[replica.bit] * features.block_tokens
    if replica.slot == context.sticky_slot and matched < context.sticky_tokens:
        matched = float(context.sticky_tokens)
    return max(0, min(int(matched), features.prompt_tokens - 1))


def predict_ttft_s(replica: Replica, uncached_tokens: int) -> float:
    """Seconds to the first token: a slot frees, the prefills ahead run, then ours."""
    model, running = replica.model, replica.num_running
    ttft_s = model.ttft_s(replica.prefill + uncached_tokens, running)
    excess = running + 1 - replica.max_concurrency
    if excess > 0:
        ttft_s += slot_wait_s(replica, excess)
    return ttft_s


def slot_wait_s(replica: Replica, excess: int) -> float:
    """Until `excess` running requests have ended, their remaining lengths being spread evenly up to the mean."""
    running = max(1, replica.num_running)
    longest_s = replica.decode / running * replica.model.step_time_s(running)
    return excess * longest_s / (running + 1)
