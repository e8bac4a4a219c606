import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.estimate import Comparison, Regression, ReplicaModel, ServiceModel


def feed(model: ReplicaModel, rng: random.Random, num: int, outliers: float = 0.0) -> None:
    """A replica with 40 ms overhead, 0.5 ms per token, 10 ms per running request; steps of 12 + 3 ms per request."""
    for _ in range(num):
        tokens, running = rng.uniform(50, 4000), rng.randrange(8)
        ttft_s = (0.04 + 0.0005 * tokens + 0.01 * running) * rng.uniform(0.95, 1.05)
        tpot_s = (0.012 + 0.003 * running) * rng.uniform(0.95, 1.05)
        if rng.random() < outliers:
            ttft_s, tpot_s = ttft_s + 30.0, tpot_s * 50
        model.observe_ttft(ttft_s, tokens, running)
        model.observe_decode(tpot_s, running)


@pytest.mark.parametrize("outliers", [0.0, 0.1])
def test_coefficients_are_found_despite_noise_and_stalls(outliers: float) -> None:
    model = ReplicaModel()
    feed(model, random.Random(1), 300, outliers)
    assert model.prefill_s == pytest.approx(0.0005, rel=0.15)
    assert model.step_s == pytest.approx(0.012, rel=0.3)
    assert model.step_crowd_s == pytest.approx(0.003, rel=0.3)
    assert model.ttft_s(2000, 3) == pytest.approx(1.07, rel=0.15)
    assert model.step_time_s(4) == pytest.approx(0.024, rel=0.15)


def test_a_few_requests_are_enough_to_be_roughly_right() -> None:
    model = ReplicaModel()
    feed(model, random.Random(2), 10)
    assert model.ttft_s(2000, 3) == pytest.approx(1.07, rel=0.25)


def test_a_replica_that_becomes_slower_is_noticed() -> None:
    model = ReplicaModel()
    rng = random.Random(3)
    feed(model, rng, 200)
    for _ in range(150):
        tokens = rng.uniform(50, 4000)
        model.observe_ttft(0.04 + 0.002 * tokens, tokens, 0)
    assert model.prefill_s == pytest.approx(0.002, rel=0.2)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 10**6), st.integers(0, 10**4), st.floats(0, 100)), max_size=60)
)
def test_whatever_is_observed_stays_physical(samples: list[tuple[float, int, int, float]]) -> None:
    model = ReplicaModel()
    for ttft_s, tokens, running, tpot_s in samples:
        model.observe_ttft(ttft_s, tokens, running)
        model.observe_decode(tpot_s, running)
        assert 0 <= model.overhead_s <= 60
        assert 0 < model.prefill_s <= 1
        assert 0 <= model.crowd_s <= 10
        assert 0 < model.step_s <= 10
        assert 0 <= model.step_crowd_s <= 1


def test_identical_requests_do_not_wind_the_covariance_up() -> None:
    model = Regression((0.0, 0.0), (1.0, 1.0), (-10, -10), (10, 10), 1.0)
    for _ in range(5000):
        model.update((1.0, 1.0), 2.0)
    before = list(model.weights)
    model.update((1.0, 5.0), 2.0)
    assert model.predict((1.0, 1.0)) == pytest.approx(2.0, abs=1.0)
    assert max(abs(a - b) for a, b in zip(model.weights, before, strict=True)) < 2.0


def test_learning_is_throttled_only_once_warm() -> None:
    model = ReplicaModel()
    assert all(model.due(0.0) for _ in range(5))
    feed(model, random.Random(4), 40)
    assert model.due(10.0)
    assert not model.due(10.01)
    assert model.due(10.03)


def test_trust_follows_what_engines_really_cached() -> None:
    model = ReplicaModel()
    for _ in range(60):
        model.observe_cache(100, 0)
    assert model.trust < 0.01
    for _ in range(60):
        model.observe_cache(100, 500)
    assert 0.99 < model.trust <= 1.0


def test_tokens_per_byte_converges_and_stays_sane() -> None:
    service = ServiceModel()
    for _ in range(300):
        service.observe_prompt(900, 1800)
    assert service.tokens_per_byte == pytest.approx(0.5, rel=0.1)
    before = service.tokens_per_byte
    service.observe_prompt(0, 100)
    service.observe_prompt(100, 0)
    assert service.tokens_per_byte == before
    service.observe_prompt(10**9, 10)
    assert service.tokens_per_byte < 4


def test_the_first_outputs_are_averaged_plainly() -> None:
    service = ServiceModel()
    for tokens in (10, 20, 30):
        service.observe_output(tokens, 1.0)
    assert service.mean_output_tokens == pytest.approx((128 + 10 + 20 + 30) / 4)


def test_whether_an_engine_shares_what_it_is_computing_is_soon_known() -> None:
    model = ReplicaModel()
    assert model.shares_pending, "believed until shown otherwise"
    model.observe_pending(False)
    assert not model.shares_pending
    for _ in range(3):
        model.observe_pending(True)
    assert model.shares_pending


def test_a_bound_in_the_way_does_not_send_the_prediction_the_wrong_way() -> None:
    """Two inputs that move together: least squares would lower one below its bound and raise the other."""
    rng = random.Random(5)
    model = ReplicaModel()
    for _ in range(400):
        tokens, running = rng.uniform(300, 1300), rng.uniform(55, 73)
        model.observe_ttft((0.2 + 0.00002 * tokens) * rng.uniform(0.7, 1.3), tokens, running)
    for _ in range(40):
        tokens, running = rng.uniform(300, 1300), rng.uniform(55, 73)
        model.observe_ttft((0.01 + 0.00002 * tokens) * rng.uniform(0.7, 1.3), tokens, running)
    assert model.ttft_s(1000, 60) == pytest.approx(0.03, abs=0.02)


def test_equals_count_as_equal() -> None:
    compared = Comparison()
    rng = random.Random(1)
    for index in range(500):
        compared.observe(0.2 * rng.choice([0.5, 1.0, 1.5]), 0.2, float(index))
        assert compared.factor == 1.0


@pytest.mark.parametrize(("ratio", "factor"), [(3.0, 3.0), (0.25, 0.25), (500.0, 20.0)])
def test_a_clear_difference_is_a_factor_and_is_forgotten_when_told(ratio: float, factor: float) -> None:
    compared = Comparison()
    for index in range(7):
        compared.observe(ratio, 1.0, float(index))
        assert compared.factor == 1.0, "too few"
    for index in range(100):
        compared.observe(ratio, 1.0, float(index))
    assert compared.factor == pytest.approx(factor, rel=0.05)
    for index in range(100):
        compared.observe(1.0, 1.0, float(index))
    assert compared.factor == 1.0
    compared.forget()
    assert compared.factor == 1.0
