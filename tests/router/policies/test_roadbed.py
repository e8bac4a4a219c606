from roadbed.router.policies.roadbed import Roadbed
from tests.router.requests import info

POLICY = Roadbed()


def test_a_cached_prefix_attracts(bench) -> None:
    pool = bench(3)
    pool.hold(1, range(20))
    choice = pool.ask(POLICY, blocks=range(20))
    assert (choice.pick, choice.reason, choice.matched_tokens) == (1, "prefix", 20 * 64 - 1)


def test_affinity_is_bounded_by_cost(bench) -> None:
    chosen = []
    for queued in (0, 500, 1000, 2000, 4000, 8000):
        pool = bench(2)
        pool.hold(1, range(20))
        pool.load(0, 1, prefill=[0, queued])
        chosen.append(pool.ask(POLICY, blocks=range(20)).pick)
    assert chosen[0] == 1
    assert chosen[-1] == 0
    assert chosen == sorted(chosen, reverse=True), "one crossing, no flapping"


def test_a_longer_prefix_is_worth_a_longer_wait(bench) -> None:
    def tolerated(length: int) -> int:
        for queued in range(0, 40_000, 200):
            pool = bench(2)
            pool.hold(1, range(length))
            pool.load(0, 1, prefill=[0, queued])
            if pool.ask(POLICY, blocks=range(length)).pick == 0:
                return queued
        return 40_000

    assert 0 < tolerated(4) < tolerated(40) < 40_000


def test_cold_requests_go_where_they_hurt_least(bench) -> None:
    pool = bench(3)
    pool.load(8, 2, 8)
    assert pool.ask(POLICY, prompt=500).pick == 1


def test_streams_that_have_just_begun_are_left_alone(bench) -> None:
    pool = bench(2)
    pool.load(4, 4)
    pool.replicas[0].begin_stream(pool.now)
    assert pool.ask(POLICY, prompt=2000).pick == 1
    pool.now += 60.0
    pool.replicas[1].begin_stream(pool.now)
    assert pool.ask(POLICY, prompt=2000).pick == 0, "what began a minute ago has slack"


def test_a_slower_replica_must_be_that_much_emptier(bench) -> None:
    pool = bench(2)
    for tokens in (100, 1000, 2000, 3000) * 10:
        pool.replicas[0].model.observe_ttft(0.002 * tokens, tokens, 0)
        pool.replicas[1].model.observe_ttft(0.0002 * tokens, tokens, 0)
    pool.load(0, 1, prefill=[0, 1000])
    assert pool.ask(POLICY, prompt=1000).pick == 1
    pool.load(0, 0, prefill=[0, 60_000])
    assert pool.ask(POLICY, prompt=1000).pick == 0


def test_the_sticky_replica_wins_by_its_saving_only(bench) -> None:
    pool = bench(3)
    assert pool.ask(POLICY, prompt=1000, sticky=(2, 800)).pick == 2
    pool.load(0, 0, 3, prefill=[0, 0, 5000])
    choice = pool.ask(POLICY, prompt=1000, sticky=(2, 800))
    assert (choice.pick != 2, choice.reason) == (True, "least_cost")


def test_a_target_makes_those_that_miss_it_dearer(bench) -> None:
    pool = bench(2)
    pool.load(6, 0, prefill=[0, 2000])  # the first answers sooner, but six streams would stall
    assert pool.ask(POLICY, prompt=1000, slo_ttft_s=5.0).pick == 1
    tight = pool.ask(POLICY, prompt=1000, slo_ttft_s=0.25)
    assert (tight.pick, tight.reason) == (0, "slo")
    assert tight.ttft_s <= 0.25
    hopeless = pool.ask(POLICY, prompt=1000, slo_ttft_s=0.001)
    assert hopeless.pick == 1, "nobody meets it, so it decides nothing"


def test_priority_is_what_own_seconds_weigh_against_others(bench) -> None:
    pool = bench(2)
    pool.load(3, 0, prefill=[0, 3000])
    assert pool.ask(POLICY, prompt=1000, priority=1).pick == 0
    assert pool.ask(POLICY, prompt=1000, priority=9).pick == 1


def test_useful_blocks_are_not_pushed_out_needlessly(bench) -> None:
    pool = bench(2)
    pool.hold(0, range(10_000, 11_000))
    for _ in range(200):
        pool.prefix.observe_reuse(10, 10, 1000.0)
    assert {pool.ask(POLICY, blocks=range(20)).pick for _ in range(10)} == {1}


def test_equals_are_not_herded(bench) -> None:
    pool = bench(8)
    assert len({pool.ask(POLICY, prompt=100).pick for _ in range(100)}) == 8


def test_a_single_replica_is_no_choice(bench) -> None:
    assert bench(1).ask(POLICY, prompt=100).reason == "only_one"


def test_an_adapter_that_must_be_loaded_costs_its_load_and_whom_it_stops(bench) -> None:
    def tolerated(num_running: int) -> int:
        for queued in range(0, 60_000, 500):
            pool = bench(2)
            for slot, replica in enumerate(pool.replicas):
                replica.configure(info(slot, concurrency=64, adapters=("law", "art"), max_adapters=1))
            pool.replicas[1].use_adapter("law")
            pool.load(num_running, num_running, prefill=[0, queued])
            if pool.ask(POLICY, prompt=100, adapter="law").pick == 0:
                return queued
        return 60_000

    assert 0 < tolerated(0) < tolerated(30) < 60_000


def test_who_had_more_of_the_work_is_spared(bench) -> None:
    pool = bench(2)
    pool.replicas[0].add_work(20.0, pool.now)
    assert pool.ask(POLICY, prompt=2000).pick == 1
    pool.hold(0, range(30))
    assert pool.ask(POLICY, blocks=range(30)).pick == 0, "but not to compute twice"
