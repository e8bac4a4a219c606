"""A pool of idle replicas with a context over it."""

import random
from collections.abc import Callable, Sequence

import pytest

from roadbed.router.policies import Choice, Context, Policy
from roadbed.router.prefix import PrefixIndex
from roadbed.router.replica import Replica
from tests.router.requests import info, request


class Bench:
    """Replicas 0…n−1; `ask` lets a policy choose for a request."""

    def __init__(self, num: int) -> None:
        self.prefix = PrefixIndex()
        self.replicas = [Replica(info(slot, concurrency=64), self.prefix.add_replica(1000)) for slot in range(num)]
        self.rng = random.Random(0)
        self.now = 1.0

    def load(self, *requests: int, prefill: Sequence[int] = (), decode: Sequence[int] = ()) -> None:
        for index, num in enumerate(requests):
            self.replicas[index].charge(
                prefill[index] if prefill else 0, 100 * num, decode[index] if decode else 50 * num, num
            )
            self.replicas[index].progress_at = self.now

    def hold(self, slot: int, blocks: Sequence[int]) -> None:
        self.prefix.insert(self.replicas[slot].bit, blocks, 0.0)

    def ask(
        self, policy: Policy, *, blocks: Sequence[int] = (), sticky: tuple[int, int] = (-1, 0), **wishes: object
    ) -> Choice:
        features = request("q", blocks=blocks, **wishes)  # type: ignore[arg-type]
        context = Context(self.now, self.prefix.match(features.blocks), self.prefix, *sticky, 0, self.rng)
        return policy.choose(features, self.replicas, context)


@pytest.fixture
def bench() -> Callable[[int], Bench]:
    return Bench
