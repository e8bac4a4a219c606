"""GPUs of jobs, and rank orders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.layout import ORDERS, PLACEMENTS, by_rail, place
from tests.fabric.collective.net import flat

FABRIC = flat(12, 4)


@given(
    num=st.integers(1, 24), jobs=st.integers(1, 6), how=st.sampled_from(PLACEMENTS), order=st.sampled_from(ORDERS),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_no_gpu_twice_and_as_many_as_asked(num, jobs, how, order, seed):
    if jobs * -(-num // 4) > 12:
        with pytest.raises(UsageError, match="need"):
            place(FABRIC, num, jobs, how=how, order=order, seed=seed)
        return
    placed = place(FABRIC, num, jobs, how=how, order=order, seed=seed)
    every = np.concatenate(placed)
    assert len(every) == num * jobs == len(set(every.tolist()))
    again = place(FABRIC, num, jobs, how=how, order=order, seed=seed)
    assert all((one == other).all() for one, other in zip(placed, again, strict=True))


def test_packed_takes_neighbours_and_scattered_does_not():
    assert place(FABRIC, 8)[0].tolist() == list(range(8))
    assert place(FABRIC, 24, how="scattered", seed=1)[0].tolist() != list(range(24))


def test_rails_of_a_job():
    groups = by_rail(FABRIC, place(FABRIC, 12, how="scattered", order="shuffled", seed=2)[0])
    assert [len(group) for group in groups] == [3] * 4
    for rail, group in enumerate(groups):
        assert set(FABRIC.rail[group].tolist()) == {rail}


@pytest.mark.parametrize(("num", "jobs"), [(0, 1), (4, 0), (-4, 1)])
def test_nothing_is_not_a_job(num, jobs):
    with pytest.raises(UsageError, match="at least 1"):
        place(FABRIC, num, jobs)
