"""Plans: the best of all combinations, with as few channels as do."""

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.chooser import traffic_of
from roadbed.fabric.collective.plan import CHANNELS, WORTH, plan
from roadbed.fabric.collective.run import PathOptions
from tests.fabric.collective.net import family, flat

SIZES = (1 << 20, 1 << 26, 1 << 32)


def test_a_plan_is_near_the_best_of_all_it_tried_and_takes_few_channels() -> None:
    fabric = family("dcn_plus", 256)
    gpus = np.random.default_rng(0).permutation(256).astype(np.int32)
    for one in plan(fabric, "allreduce", gpus, SIZES, PathOptions(policy="ecmp", seed=1)):
        assert one.seconds <= one.tried[0].seconds * (1 + WORTH)
        assert len(one.tried) == 2 * 4 * len(CHANNELS)
        cheaper = [other for other in one.tried if other.channels < one.channels]
        assert all(other.seconds > one.tried[0].seconds * (1 + WORTH) for other in cheaper)
        assert sorted(one.gpus.tolist()) == list(range(256))
        assert "would take" in one.why


def test_shuffled_ranks_are_put_in_order_where_hashing_punishes_them() -> None:
    fabric = family("dcn_plus", 256)
    gpus = np.random.default_rng(0).permutation(256).astype(np.int32)
    best = plan(fabric, "allgather", gpus, [1 << 32], PathOptions(policy="ecmp", seed=1))[0]
    assert best.order == "planned" or best.channels > 1


def test_an_ideal_network_needs_no_second_channel() -> None:
    best = plan(flat(8), "allgather", np.arange(8, dtype=np.int32), [1 << 30])[0]
    assert (best.channels, best.order, best.algorithm) == (1, "given", "ring")


@pytest.mark.parametrize("algorithm", ["ring", "tree", "nvls", "hierarchical", "pxn", "direct"])
@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_channels_share_the_same_bytes(algorithm: str, channels: int) -> None:
    fabric = flat(4, 8)
    ranks = ranks_of(fabric, range(32))
    op = "alltoall" if algorithm in ("pxn", "direct") else "allreduce"
    usual, split = traffic_of(fabric, op, ranks, algorithm), traffic_of(fabric, op, ranks, algorithm, channels)
    assert split.share[split.session].sum() == pytest.approx(usual.share[usual.session].sum())
    assert split.num_sessions == len(set(split.session.tolist()))


@pytest.mark.parametrize("channels", [0, -1, 33])
def test_a_card_has_so_many_channels(channels: int) -> None:
    fabric = flat(2)
    with pytest.raises(UsageError, match="channels"):
        traffic_of(fabric, "allreduce", ranks_of(fabric, range(2)), "ring", channels)
