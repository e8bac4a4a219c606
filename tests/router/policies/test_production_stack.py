from roadbed.router.policies import production_stack
from roadbed.router.policies.production_stack import LoadAware, PrefixAware, SessionAffinity
from tests.router.requests import request


def test_a_session_stays_whatever_the_load_and_moves_only_when_its_replica_leaves(bench) -> None:
    pool, policy = bench(8), SessionAffinity()
    homes = {name: pool.ask(policy, session=name).pick for name in map(str, range(200))}
    assert len(set(homes.values())) == 8
    pool.load(*[500 if index == homes["7"] else 0 for index in range(8)])
    assert pool.ask(policy, session="7").pick == homes["7"]
    gone = pool.replicas.pop()
    after = {name: pool.replicas[pool.ask(policy, session=name).pick].slot for name in homes}
    assert all(after[name] == slot for name, slot in homes.items() if slot != gone.slot)


def test_without_a_session_the_lowest_rate_of_the_last_minute(bench) -> None:
    pool, policy = bench(2), SessionAffinity()
    home = pool.ask(policy, session="a").pick
    for _ in range(3):
        pool.ask(policy, session="a")
    assert [pool.ask(policy).pick for _ in range(4)] == [1 - home] * 4
    assert {pool.ask(policy).pick for _ in range(2)} == {0, 1}
    pool.now = 61.5
    assert {pool.ask(policy).pick for _ in range(2)} == {0, 1}, "a minute later all is forgotten"


def test_prefixaware_follows_the_longest_match_whatever_the_load(bench) -> None:
    pool, policy = bench(4), PrefixAware()
    home = pool.ask(policy, blocks=range(10)).pick
    pool.load(*[500 if index == home else 0 for index in range(4)])
    assert {pool.ask(policy, blocks=[*range(k), 99]).pick for k in (1, 5, 9)} == {home}
    assert pool.ask(policy, blocks=range(3)).reason == "prefix"


def test_prefixaware_takes_a_random_one_where_nothing_matches(bench) -> None:
    pool, policy = bench(4), PrefixAware()
    assert {pool.ask(policy, blocks=[1000 + n]).pick for n in range(60)} == {0, 1, 2, 3}


def test_prefixaware_remembers_a_bounded_number(bench, monkeypatch) -> None:
    monkeypatch.setattr(production_stack, "MOST_CHUNKS", 100)
    pool, policy = bench(2), PrefixAware()
    for n in range(50):
        pool.ask(policy, blocks=range(100 * n, 100 * n + 10))
    assert len(policy._trie) == 100


def test_loadaware_by_hand(bench) -> None:
    pool = bench(2)
    pool.hold(1, range(6))
    # mean 5, β / 5 = 0.2: with loads 3 and 7 it is 0 + 0.4 against 0.6 − 0.4; with 4 and 6, 0.2 against 0.4
    pool.load(3, 7)
    assert pool.ask(LoadAware(), blocks=[*range(6), 91, 92, 93, 94]).pick == 0
    pool.load(1, -1)
    choice = pool.ask(LoadAware(), blocks=[*range(6), 91, 92, 93, 94])
    assert (choice.pick, choice.reason, choice.matched_tokens) == (1, "prefix", 6 * 64)


def test_loadaware_of_an_idle_pool_scales_by_one(bench) -> None:
    pool = bench(2)
    pool.load(0, 1)  # mean 0.5, scale 1 not 2: 0.5 against 0.9 − 0.5
    pool.hold(1, range(9))
    assert pool.ask(LoadAware(), blocks=[*range(9), 90]).pick == 0
    pool.hold(1, [*range(9), 90])
    assert request("q", blocks=[*range(9), 90]).prompt_tokens == 640
    assert {pool.ask(LoadAware(), blocks=[*range(9), 90]).pick for _ in range(40)} == {0, 1}, "0.5 on both"
