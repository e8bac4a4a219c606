from roadbed.router.policies.aibrix import AibrixPrefixCache

POLICY = AibrixPrefixCache()


def test_the_longest_match_within_one_sigma(bench) -> None:
    pool = bench(4)
    pool.hold(0, range(10))
    pool.hold(1, range(6))
    pool.load(8, 4, 4, 0)  # mean 4, σ = √8 = 2.83: 8 is beyond 6.83, 4 is not
    choice = pool.ask(POLICY, blocks=range(10))
    assert (choice.pick, choice.reason, choice.matched_tokens) == (1, "prefix", 6 * 64)


def test_of_equal_matches_the_less_loaded(bench) -> None:
    pool = bench(3)
    pool.hold(0, range(4))
    pool.hold(2, range(4))
    pool.load(5, 0, 4)
    assert pool.ask(POLICY, blocks=range(10)).pick == 2


def test_more_than_eight_apart_affinity_ends(bench) -> None:
    for busiest, expected in ((8, "prefix"), (9, "least_load")):
        pool = bench(2)
        pool.hold(1, range(10))
        pool.load(0, busiest)
        # within the bound, 8 is exactly mean 4 + σ 4
        choice = pool.ask(POLICY, blocks=range(10))
        assert (choice.pick, choice.reason) == (1 if expected == "prefix" else 0, expected)


def test_nothing_matched_goes_to_the_fewest_requests(bench) -> None:
    pool = bench(3)
    pool.load(2, 1, 3)
    assert pool.ask(POLICY, blocks=range(5)).pick == 1
    assert {bench(3).ask(POLICY, blocks=range(5)).pick} <= {0, 1, 2}
