import pytest

from roadbed.router.policies.least_load import LeastLoad, load_score_s


def test_the_formula(bench) -> None:
    pool = bench(1)
    pool.replicas[0].charge(1000, 50_000, 3000, 1)
    assert load_score_s(pool.replicas[0]) == pytest.approx(4000 / 2000 + 0.15)
    pool.replicas[0].charge(0, 10**6, 0, 0)
    assert load_score_s(pool.replicas[0]) == pytest.approx(2 + 0.15 * 999)


def test_tokens_decide_not_requests(bench) -> None:
    pool = bench(2)
    pool.load(5, 1, decode=[50, 5000])
    assert pool.ask(LeastLoad()).pick == 0


def test_ties_are_broken_by_chance(bench) -> None:
    pool = bench(4)
    assert {pool.ask(LeastLoad()).pick for _ in range(50)} == {0, 1, 2, 3}
