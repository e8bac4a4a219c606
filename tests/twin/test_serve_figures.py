import numpy as np
import pytest

from roadbed.router.base import Decision
from roadbed.twin.serve_engine import Work
from roadbed.twin.serve_figures import Outcomes, row, spread


def done(number: int, arrived_s: float, first_s: float, end_s: float, output: int = 11, cached: int = 0) -> Work:
    work = Work(number, 100, output)
    work.arrived_s, work.first_s, work.end_s, work.cached_tokens = arrived_s, first_s, end_s, cached
    return work


def outcomes() -> Outcomes:
    found = Outcomes(4)
    found.sent(0, Decision("0", "go", "x", slot=1, predicted_ttft_s=1.0))
    found.over(done(0, 1.0, 3.0, 4.0, cached=50), 0.0)
    found.sent(1, Decision("1", "go", "x", slot=0, predicted_ttft_s=0.5))
    found.over(done(1, 1.0, 1.5, 11.5), 1.0)
    found.over(done(2, 2.0, 2.5, 2.5, output=1), 2.0)
    found.shed(3, "deadline")
    found.busy_s = [5.0, 18.0]
    return found


def test_figures_by_hand() -> None:
    found = row(outcomes(), router="x", replicas=2, speedup=1, kv_blocks=9, wall_s=0.1, slo_ttft_s=2.0, slo_itl_s=0.5)
    assert found.ttft_s.mean == pytest.approx((3 + 0.5 + 0.5) / 3)
    assert found.itl_s.mean == pytest.approx((0.1 + 1.0) / 2)
    assert found.e2e_s.mean == pytest.approx((4 + 10.5 + 0.5) / 3)
    assert found.goodput_share == 0.25
    assert found.shed == 1
    assert found.shed_reasons == {"deadline": 1}
    assert found.reuse == pytest.approx(50 / 300)
    assert found.makespan_s == 11.5
    assert found.output_tokens_per_s == pytest.approx(23 / 11.5)
    assert found.busy_share == pytest.approx(23 / 23)
    assert found.requests == 4
    assert found.prediction_error == pytest.approx(np.median([abs(2 - 3) / 3, 0.0]))


def test_without_slo_what_ends_is_good() -> None:
    assert row(outcomes(), router="x", replicas=2, speedup=1, kv_blocks=9, wall_s=0).goodput_share == 0.75


def test_nothing_at_all() -> None:
    found = row(Outcomes(0), router="x", replicas=1, speedup=1, kv_blocks=1, wall_s=0, slo_ttft_s=1)
    assert (found.requests, found.goodput_share, found.output_tokens_per_s) == (0, 0.0, 0.0)
    assert found.prediction_error is None


def test_nobody_ends_twice() -> None:
    found = outcomes()
    with pytest.raises(ValueError, match="request 0 ended twice"):
        found.over(done(0, 1.0, 3.0, 4.0), 0.0)


def test_spread() -> None:
    assert spread(np.arange(101.0)).p90 == 90
    assert spread(np.array([])).mean == 0
