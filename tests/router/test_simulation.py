"""Policies on a small modelled pool: is our policy worth having?"""

import pytest

from tests.router.simulation import SimReplica, conversations, run


@pytest.mark.parametrize("rate", [2.0, 4.0, 8.0])
def test_roadbed_beats_round_robin_on_shared_prefixes(rate: float) -> None:
    arrivals = conversations(1200, rate, seed=7, num_families=40)
    ours = run("roadbed", [SimReplica() for _ in range(4)], arrivals)
    theirs = run("round_robin", [SimReplica() for _ in range(4)], arrivals)
    assert ours.num_shed == theirs.num_shed == 0
    assert len(ours.ttfts_s) == len(theirs.ttfts_s) == 1200
    assert ours.mean_ttft_s < 0.7 * theirs.mean_ttft_s
    assert ours.hit_rate > theirs.hit_rate + 0.2


def test_roadbed_is_no_worse_than_the_threshold_rule() -> None:
    arrivals = conversations(1200, 4.0, seed=11, num_families=40)
    ours = run("roadbed", [SimReplica() for _ in range(4)], arrivals)
    smg = run("smg_cache_aware", [SimReplica() for _ in range(4)], arrivals)
    assert ours.mean_ttft_s < 1.05 * smg.mean_ttft_s


@pytest.mark.parametrize("num_families", [1, 12])
def test_no_replica_is_herded_to_death(num_families: int) -> None:
    arrivals = conversations(800, 12.0, seed=3, num_families=num_families)
    result = run("roadbed", [SimReplica() for _ in range(4)], arrivals)
    assert len(result.by_slot) >= 2
    assert result.mean_ttft_s < 1.0
    assert max(result.by_slot.values()) < 0.6 * 800


def test_one_hot_prefix_does_not_queue_behind_itself() -> None:
    arrivals = conversations(600, 25.0, seed=5, num_families=1)
    ours = run("roadbed", [SimReplica() for _ in range(4)], arrivals)
    assert ours.mean_ttft_s < 0.5
    assert min(ours.by_slot.values()) > 30


def test_a_slow_replica_gets_its_share_and_no_more() -> None:
    pool = [SimReplica(), SimReplica(), SimReplica(prefill_s=0.002, step_s=0.05)]
    result = run("roadbed", pool, conversations(600, 4.0, seed=2))
    blind = run(
        "round_robin", [SimReplica(), SimReplica(), SimReplica(prefill_s=0.002, step_s=0.05)],
        conversations(600, 4.0, seed=2),
    )  # fmt: skip
    assert result.by_slot[2] < 0.2 * 600
    assert result.mean_ttft_s < 0.5 * blind.mean_ttft_s


def test_without_anything_shared_load_is_spread_evenly() -> None:
    arrivals = conversations(400, 4.0, seed=9, num_families=10**6)
    result = run("roadbed", [SimReplica() for _ in range(4)], arrivals)
    assert max(result.by_slot.values()) < 1.4 * min(result.by_slot.values())
