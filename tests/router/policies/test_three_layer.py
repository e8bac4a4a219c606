from roadbed.router.policies.three_layer import ThreeLayer

POLICY = ThreeLayer()


def test_the_session_comes_first_while_its_replica_is_not_overloaded(bench) -> None:
    for loads, expected in (((0, 6, 6), (1, "sticky")), ((0, 6, 0), (2, "prefix"))):
        pool = bench(3)
        pool.hold(2, range(10))
        pool.load(*loads)  # 6 against 1.5 · 4, then against 1.5 · 2
        choice = pool.ask(POLICY, blocks=range(10), sticky=(1, 0))
        assert (choice.pick, choice.reason) == expected


def test_the_longest_match_that_is_not_overloaded(bench) -> None:
    pool = bench(4)
    pool.hold(0, range(10))
    pool.hold(1, range(4))
    pool.load(14, 13, 7, 6)  # mean 10: up to 13
    choice = pool.ask(POLICY, blocks=range(10))
    assert (choice.pick, choice.reason, choice.matched_tokens) == (1, "prefix", 4 * 64)


def test_load_is_the_last_resort(bench) -> None:
    pool = bench(3)
    pool.load(2, 1, 3)
    choice = pool.ask(POLICY, blocks=range(5))
    assert (choice.pick, choice.reason) == (1, "least_load")
