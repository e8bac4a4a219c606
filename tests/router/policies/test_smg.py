import pytest

from roadbed.router.policies.smg import PowerOfTwo, SmgCacheAware, SmgLeastLoad, score_s

POLICY = SmgCacheAware()


def test_more_than_half_matched_follows_the_prefix(bench) -> None:
    pool = bench(3)
    pool.hold(2, range(10))
    pool.load(0, 0, 30)
    choice = pool.ask(POLICY, blocks=[*range(6), 91, 92, 93, 94])
    assert (choice.pick, choice.reason, choice.matched_tokens) == (2, "prefix", 6 * 64)


def test_half_is_not_enough(bench) -> None:
    pool = bench(2)
    pool.hold(1, range(10))
    pool.load(0, 1)
    choice = pool.ask(POLICY, blocks=[*range(5), 91, 92, 93, 94, 95])
    assert (choice.pick, choice.reason) == (0, "least_load")


def test_the_least_loaded_holder_of_the_longest_match(bench) -> None:
    pool = bench(3)
    pool.hold(0, range(10))
    pool.hold(1, range(10))
    pool.hold(2, range(9))
    pool.load(3, 2, 0)
    assert pool.ask(POLICY, blocks=range(10)).pick == 1


def test_spill_needs_both_thresholds(bench) -> None:
    for loads, expected in (((0, 63), "prefix"), ((0, 65), "spill"), ((900, 965), "prefix")):
        pool = bench(2)
        pool.hold(1, range(10))
        pool.load(*loads)
        choice = pool.ask(POLICY, blocks=range(10))
        assert (choice.pick, choice.reason) == ((1, "prefix") if expected == "prefix" else (0, "spill"))


def test_a_request_without_blocks_goes_where_there_is_least(bench) -> None:
    pool = bench(3)
    pool.load(2, 1, 3)
    assert pool.ask(POLICY, prompt=10).pick == 1


def test_equal_loads_go_to_who_was_sent_least(bench) -> None:
    pool, policy = bench(3), SmgCacheAware()
    assert [pool.ask(policy, prompt=10).pick for _ in range(5)] == [0, 1, 2, 0, 1]


def test_the_score_by_hand(bench) -> None:
    pool = bench(1)
    pool.replicas[0].charge(1000, 80_000, 9_999_999, 1)  # k = 0.8: 0.15 · 4; what is to be generated does not count
    assert score_s(pool.replicas[0]) == pytest.approx(1000 / 2000 + 0.6)
    pool.replicas[0].charge(0, 10**6, 0, 0)
    assert score_s(pool.replicas[0]) == pytest.approx(0.5 + 0.15 * 999)


def test_the_lowest_score_of_all(bench) -> None:
    pool = bench(3)
    pool.load(1, 9, 1, prefill=[400, 100, 300])
    assert pool.ask(SmgLeastLoad()).pick == 1  # 0.2 s, 0.05 s and 0.15 s of tokens; 900 of 100,000 KV tokens add 1.4 ms


def test_the_lower_of_a_random_pair(bench) -> None:
    pool = bench(3)
    pool.load(1, 1, 1, prefill=[9000, 5000, 0])
    picks = [pool.ask(PowerOfTwo()).pick for _ in range(300)]
    assert picks.count(0) == 0, "it loses to whomever it is drawn with"
    assert 60 < picks.count(1) < 140, "drawn without the emptiest in a third of all pairs"
    assert bench(1).ask(PowerOfTwo()).pick == 0
