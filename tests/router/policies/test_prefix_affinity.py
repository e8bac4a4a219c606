from roadbed.router.policies.prefix_affinity import PrefixAffinity

POLICY = PrefixAffinity()


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
