import pytest

from roadbed.router.policies import create
from tests.router.requests import info


def test_the_sum_by_hand(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(6))
    pool.replicas[0].charge(0, 40_000, 0, 1)
    pool.replicas[0].num_unanswered = 2
    pool.replicas[1].charge(0, 10_000, 0, 1)
    # 1,1,1: 0.6 + 0 + 0.6 against 0 + 1 + 0.9;  3,2,2: 1.8 + 0 + 1.2 against 0 + 2 + 1.8
    assert pool.ask(create("llmd_111"), blocks=[*range(6), 91, 92, 93, 94]).pick == 1
    assert pool.ask(create("llmd_322"), blocks=[*range(6), 91, 92, 93, 94]).pick == 1
    pool.replicas[1].charge(0, 40_000, 0, 0)
    # 1,1,1: 1.2 against 1.5; 3,2,2: 3.0 against 3.0
    assert pool.ask(create("llmd_111"), blocks=[*range(6), 91, 92, 93, 94]).pick == 1
    pool.hold(0, range(7))
    # 1,1,1: 1.3 against 1.5; 3,2,2: 3.3 against 3.0
    assert pool.ask(create("llmd_111"), blocks=[*range(7), 92, 93, 94]).pick == 1
    assert pool.ask(create("llmd_322"), blocks=[*range(7), 92, 93, 94]).pick == 0


@pytest.mark.parametrize("name", ["llmd_111", "llmd_322"])
def test_equal_queues_score_alike_and_ties_are_broken_by_chance(bench, name: str) -> None:
    pool = bench(3)
    for replica in pool.replicas:
        replica.num_unanswered = 4
    assert {pool.ask(create(name)).pick for _ in range(50)} == {0, 1, 2}


def test_the_queue_score_is_relative_to_the_longest(bench) -> None:
    pool = bench(3)
    for replica, queue in zip(pool.replicas, (1, 3, 5), strict=True):
        replica.num_unanswered = queue
    pool.hold(1, range(4))  # 1 · 0.4 + 0.5 + 1 against 0 + 1 + 1
    assert pool.ask(create("llmd_111"), blocks=range(10)).pick == 0
    pool.hold(1, range(6))
    assert pool.ask(create("llmd_111"), blocks=range(10)).pick == 1


def test_a_loaded_adapter_counts_for_those_who_want_it(bench) -> None:
    pool = bench(2)
    for slot, replica in enumerate(pool.replicas):
        replica.configure(info(slot, concurrency=64, adapters=("law", "art"), max_adapters=1))
    pool.replicas[1].use_adapter("law")
    pool.replicas[1].charge(0, 10_000, 0, 1)  # KV score 0.9 against 1
    assert pool.ask(create("llmd_111")).pick == 0
    assert pool.ask(create("llmd_111"), adapter="law").pick == 1, "0.9 + 1 against 1 + 0.8"
    assert pool.ask(create("llmd_111"), adapter="art").pick == 0, "0.9 + 0 against 1 + 0.8"
