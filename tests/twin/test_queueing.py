"""Names lead to switches, quotas share the cluster and never promise more than there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.scheduler.accounts import QuotaTree
from roadbed.twin.queueing import ONE_LINE, QUEUEING_NAMES, make_queueing, make_quotas, shares_of


@pytest.mark.parametrize("name", QUEUEING_NAMES)
def test_every_name_makes_a_sound_tree(name: str) -> None:
    quotas = make_quotas(make_queueing(name), {"a": 0.75, "b": 0.25}, 8000)
    tree = QuotaTree(quotas, {"gpu": 8000, "cpu": 0})
    if name == "fifo":
        assert list(tree.nodes) == [ONE_LINE]
    else:
        assert [quota.min["gpu"] for quota in quotas] == [6000, 2000]
        assert all(quota.lending for quota in quotas)


def test_what_sets_them_apart() -> None:
    assert make_queueing("roadbed").config.preempt
    assert not make_queueing("easy").config.preempt
    assert not make_queueing("roadbed").config.defrag_moves
    assert make_queueing("defrag").config.defrag_moves
    assert make_queueing("fair").quota["backfill"] == "off"
    assert make_queueing("easy/fgd").placement == "fgd"
    assert make_queueing("easy").placement == "roadbed"


@pytest.mark.parametrize(
    ("name", "words"),
    [("esay", "did you mean 'easy'"), ("easy/bestfitt", "'bestfit'"), ("", "there is fifo"), ("fifo/", "no policy ''")],
)
def test_unknown_names(name: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_queueing(name)
    assert words in raised.value.message


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e12)), min_size=1))
def test_shares_sum_to_one(work: list[tuple[str, float]]) -> None:
    shares = shares_of(work)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == {name for name, _ in work}
    quotas = make_quotas(make_queueing("fair"), shares, 415_000)
    assert sum(quota.min["gpu"] for quota in quotas) <= 415_000
