from roadbed.router.policies.llumnix import LlumnixCacheAware

POLICY = LlumnixCacheAware()


def test_misses_and_queue_add_up(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(6))
    pool.load(1, 5, prefill=[383, 0])  # 256 + 383 against 640 + 0
    choice = pool.ask(POLICY, blocks=range(10))
    assert (choice.pick, choice.reason, choice.matched_tokens) == (0, "prefix", 6 * 64)
    pool.load(0, 0, prefill=[2, 0])
    assert pool.ask(POLICY, blocks=range(10)).pick == 1


def test_equal_sums_go_by_requests_then_by_chance(bench) -> None:
    pool = bench(3)
    pool.load(2, 1, 1)
    assert {pool.ask(POLICY, prompt=100).pick for _ in range(40)} == {1, 2}
