from roadbed.router.policies.round_robin import RoundRobin


def test_everyone_in_turn(bench) -> None:
    pool, policy = bench(3), RoundRobin()
    assert [pool.ask(policy).pick for _ in range(5)] == [0, 1, 2, 0, 1]


def test_who_is_missing_loses_its_turn_only(bench) -> None:
    pool, policy = bench(3), RoundRobin()
    assert pool.ask(policy).pick == 0
    absent = pool.replicas.pop(1)
    assert pool.replicas[pool.ask(policy).pick].slot == 2
    pool.replicas.insert(1, absent)
    assert [pool.ask(policy).pick for _ in range(2)] == [0, 1]
