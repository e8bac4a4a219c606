"""Training steps: what adds up, what must not be faster, and what the published testbed gained."""

import pytest

from roadbed.errors import UsageError
from roadbed.fabric.collective.table import default_paths
from roadbed.fabric.layout import place
from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import Parallel, usual_cut
from roadbed.fabric.step.run import run_step
from tests.fabric.collective.net import family


def step(name, gpus, model, jobs=1, built=0, **cut):
    fabric = family(name, built or gpus * jobs)
    how, order = ("packed", "planned") if name == "hpn7" else ("scattered", "given")
    placed = place(fabric, gpus, jobs, how=how, order=order)
    return run_step(fabric, find_model(model), usual_cut(model, **cut), placed, default_paths(fabric))


def test_parts_add_up_and_mfu_is_operations_over_peak():
    one = step("hpn7", 128, "gpt3-175b", global_batch=64)
    shown = sum(part.exposed_s for part in one.exposed)
    bubble_share = one.bubble_s / (one.step_s - one.bubble_s)
    assert one.step_s == pytest.approx(one.compute_s + shown + one.bubble_s, rel=1e-9)
    assert bubble_share < 7 / one.num_micro_batches
    assert one.samples == 64
    assert one.mfu == pytest.approx(find_model("gpt3-175b").step_flops(64) / (one.step_s * 128 * 989.4e12), rel=1e-6)


@pytest.mark.parametrize(("model", "batch", "gain"), [
    ("llama-7b", 1792, 1.079), ("llama-13b", 1792, 1.144), ("gpt3-175b", 448, 1.063)
])  # fmt: skip
def test_hpn_gains_on_448_gpus_what_was_published(model, batch, gain):
    """HPN (SIGCOMM'24) §9.1: samples per second against DCN+, within 4 points. Batches are ours: not published."""
    hpn, dcn = (step(name, 448, model, global_batch=batch).samples_per_s for name in ("hpn7", "dcn_plus"))
    assert hpn / dcn == pytest.approx(gain, abs=0.04)


def test_no_network_matters_to_one_server_and_a_second_one_costs():
    alone = step("hpn7", 8, "llama-7b", tp=8, global_batch=8)
    assert alone.cross_segment_bytes == 0
    two = step("hpn7", 16, "llama-7b", tp=8, global_batch=16)
    assert two.step_s > alone.step_s


def test_more_overlap_of_jobs_is_never_faster():
    alone = step("dcn_plus", 128, "gpt3-175b", global_batch=64, built=384)
    crowd = step("dcn_plus", 128, "gpt3-175b", jobs=3, global_batch=64)
    assert crowd.step_s >= alone.step_s * 0.999
    assert crowd.num_jobs == 3


def test_a_mixture_pays_for_its_experts_exchange():
    one = step("hpn7", 64, "mixtral-8x7b", global_batch=32)
    exchange = next(part for part in one.exposed if part.dimension == "ep")
    assert exchange.algorithm == "pxn"
    assert exchange.exposed_s == pytest.approx(exchange.total_s)


def test_recomputing_costs_a_third_and_changes_no_bytes():
    plain, again = (step("hpn7", 64, "llama-65b", global_batch=32, recompute=on) for on in (False, True))
    assert again.compute_s == pytest.approx(plain.compute_s * 4 / 3)
    assert [one.size for one in again.exposed] == [one.size for one in plain.exposed]
    assert again.mfu < plain.mfu


def test_wrong_input_is_named():
    fabric = family("hpn7", 64)
    with pytest.raises(UsageError, match="efficiency"):
        run_step(fabric, find_model("llama-7b"), Parallel(), place(fabric, 64), efficiency=0.0)
    with pytest.raises(UsageError, match="needs GPUs"):
        run_step(fabric, find_model("llama-7b"), Parallel(), [])
    with pytest.raises(UsageError, match="divide"):
        run_step(fabric, find_model("gpt3-175b"), Parallel(tp=8, pp=8), place(fabric, 60))
