from roadbed.router.policies import create


def test_linear_by_hand(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(6))
    pool.replicas[0].charge(64 * 5, 0, 0, 1)
    pool.replicas[0].activate(range(100, 103), 64)
    # (5 + 10 − 6) + (3 + 10) = 22 against (0 + 10) + (0 + 10) = 20
    assert pool.ask(create("dynamo_linear"), blocks=range(10)).pick == 1
    pool.replicas[1].activate(range(200, 203), 64)
    # 22 against 23; at scale 2: 31 against 33
    choice = pool.ask(create("dynamo_linear"), blocks=range(10))
    assert (choice.pick, choice.reason, choice.matched_tokens) == (0, "prefix", 6 * 64)
    assert pool.ask(create("dynamo_tuned"), blocks=range(10)).pick == 0


def test_the_scale_weighs_prefill(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(5))
    pool.replicas[0].activate(range(100, 108), 64)
    # 5 + (8 + 10) = 23 against 10 + 10 = 20; at scale 2: 28 against 30
    assert pool.ask(create("dynamo_linear"), blocks=range(10)).pick == 1
    assert pool.ask(create("dynamo_tuned"), blocks=range(10)).pick == 0


def test_blocks_in_flight_are_counted_once(bench) -> None:
    pool = bench(2)
    for _ in range(3):
        pool.replicas[0].activate(range(10), 64)
    pool.replicas[1].activate([1000], 64)
    # the incoming ten are active on the first already: 10 + 10 against 10 + 11
    assert pool.ask(create("dynamo_linear"), blocks=range(10)).pick == 0
    for _ in range(2):
        pool.replicas[0].deactivate(range(10))
    assert len(pool.replicas[0].active) == 10
    pool.replicas[0].deactivate(range(10))
    assert not pool.replicas[0].active


def test_lmetric_is_a_product(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(9))
    pool.replicas[0].activate(range(100, 180), 64)
    # linear: 1 + 90 against 10 + 10; lmetric: 1 · 91 against 10 · 11
    assert pool.ask(create("dynamo_linear"), blocks=range(10)).pick == 1
    assert pool.ask(create("dynamo_lmetric"), blocks=range(10)).pick == 0
