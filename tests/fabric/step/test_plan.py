"""What a step sends, against HPN's table 3 and by hand."""

import pytest

from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import Parallel
from roadbed.fabric.step.plan import communication

GPT = find_model("gpt3-175b")


def by_dimension(model, dp, **cut):
    return {(one.dimension, one.op): one for one in communication(model, Parallel(**cut), dp)}


def test_hpn_table_3():
    """GPT-3 175B, TP 8, PP 8, DP 512: 5.5 GB all-reduced over data, 6 MB sent over pipeline."""
    sent = by_dimension(GPT, 512, tp=8, pp=8)
    assert sent["dp", "allreduce"].size / 1e9 == pytest.approx(5.5, rel=0.03)
    assert sent["pp", "sendrecv"].size / 1e6 == pytest.approx(6.0, rel=0.06)


def test_tensor_parallel_sends_four_activations_per_layer_and_pass():
    sent = by_dimension(GPT, 1, tp=8)
    activation = 2048 * 12288 * 2
    assert {op for dimension, op in sent if dimension == "tp"} == {"allgather", "reducescatter"}
    for op in ("allgather", "reducescatter"):
        one = sent["tp", op]
        assert (one.size, one.forward, one.backward) == (activation, 192, 192)
    plain = by_dimension(GPT, 1, tp=8, sequence_parallel=False)["tp", "allreduce"]
    assert (plain.size, plain.forward) == (activation, 192)


def test_experts_exchange_tokens_and_reduce_apart():
    model = find_model("mixtral-8x7b")
    sent = by_dimension(model, 16, ep=8)
    assert sent["ep", "alltoall"].size == pytest.approx(4096 * 4096 * 2 * 2)
    assert sent["ep", "alltoall"].forward == 64
    copies = sent["expert_dp", "allreduce"].size * 8 / 2
    rest = sent["dp", "allreduce"].size / 2
    assert copies + rest == pytest.approx(model.params, rel=0.001)


@pytest.mark.parametrize(("zero", "ops"), [(0, {"allreduce"}), (1, {"allgather", "reducescatter"})])
def test_zero_splits_the_reduction_in_two_of_half_its_bus_bytes(zero, ops):
    assert {op for _, op in by_dimension(find_model("llama-7b"), 8, zero=zero)} == ops


def test_zero_3_gathers_for_every_pass():
    sent = by_dimension(find_model("llama-7b"), 8, zero=3)
    assert sent["dp", "allgather"].forward == sent["dp", "allgather"].backward == 1


def test_context_ranks_gather_keys_and_values():
    model = find_model("llama2-70b")
    one = by_dimension(model, 1, cp=4)["cp", "allgather"]
    assert one.size == pytest.approx(2 * 4096 * 8192 / 8 * 2)


def test_alone_nothing_is_sent():
    assert communication(find_model("llama-7b"), Parallel(), 1) == []
