"""Groups partition the GPUs; degrees that do not divide are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import Parallel, data_parallel, groups_of, num_micro_batches, usual_cut

GPT = find_model("gpt3-175b")
POWERS = st.sampled_from([1, 2, 4])


@given(tp=POWERS, pp=POWERS, cp=POWERS, ep=POWERS, dp=st.sampled_from([4, 8]))
def test_every_gpu_is_once_in_each_kind_of_group(tp, pp, cp, ep, dp):
    gpus = np.random.default_rng(0).permutation(tp * pp * cp * dp).astype(np.int32)
    groups = groups_of(Parallel(tp=tp, pp=pp, cp=cp, ep=ep), gpus, dp)
    widths = {"tp": tp, "cp": cp, "dp": dp * cp, "pp": pp, "ep": ep, "expert_dp": dp // ep}
    for name, width in widths.items():
        rows = getattr(groups, name)
        assert rows.shape[1] == width
        assert sorted(rows.ravel().tolist()) == list(range(len(gpus)))


def test_tensor_groups_are_innermost_and_stages_outermost():
    groups = groups_of(Parallel(tp=4, pp=2), np.arange(16, dtype=np.int32), 2)
    assert groups.tp[0].tolist() == [0, 1, 2, 3]
    assert groups.dp[0].tolist() == [0, 4]
    assert groups.pp[0].tolist() == [0, 8]


@pytest.mark.parametrize(("cut", "gpus", "said"), [
    ({"tp": 8, "pp": 8}, 100, "tp × pp × cp = 64"), ({"tp": 7}, 14, "tp 7"), ({"pp": 5}, 10, "pp × virtual 5"),
    ({"cp": 3}, 6, "cp 3"), ({"tp": 0}, 8, "tp must"), ({"zero": 4}, 8, "zero 4"), ({"micro_batch": 0}, 8, "micro_batch"),
])  # fmt: skip
def test_degrees_that_do_not_divide(cut, gpus, said):
    with pytest.raises(UsageError, match=said):
        data_parallel(Parallel(**cut), GPT, gpus)


def test_experts_must_divide_too():
    mixtral = find_model("mixtral-8x7b")
    with pytest.raises(UsageError, match="ep 3"):
        data_parallel(Parallel(ep=3), mixtral, 6)
    with pytest.raises(UsageError, match="data-parallel"):
        data_parallel(Parallel(ep=8), mixtral, 4)
    assert data_parallel(Parallel(ep=8, tp=2), mixtral, 32) == 16


def test_micro_batches_come_out_even():
    assert num_micro_batches(Parallel(global_batch=64, micro_batch=2), 8) == 4
    assert num_micro_batches(Parallel(pp=4), 8) == 16
    with pytest.raises(UsageError, match="does not divide"):
        num_micro_batches(Parallel(global_batch=65), 8)
    with pytest.raises(UsageError, match="does not divide"):
        num_micro_batches(Parallel(global_batch=-8), 8)


def test_usual_cuts_divide_their_models():
    for name in ("gpt3-175b", "llama-65b", "llama3-405b", "mixtral-8x7b", "qwen2.5-72b"):
        cut = usual_cut(name)
        assert data_parallel(cut, find_model(name), cut.tp * cut.pp * 16) == 16
    assert usual_cut("gpt3-175b", tp=4, pp=None).tp == 4
    assert usual_cut("gpt3-175b", tp=4, pp=None).pp == 8
