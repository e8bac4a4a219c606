"""Workload files on a network."""

import numpy as np
import pytest

from roadbed.errors import UsageError
from roadbed.fabric.collective.run import PathOptions
from roadbed.fabric.layout import place
from roadbed.fabric.step.simai import parse_workload
from roadbed.fabric.step.workload import groups_in, run_workload
from tests.fabric.collective.net import family

HEADER = (
    "HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: {tp} ep: {ep} pp: {pp} vpp: 1 ga: {ga} all_gpus: {all}"
)
ROW = "layer{n} -1 1000000 {fwd} 1000000 NONE 0 1000000 {wg} 100"


def workload(*, tp=8, ep=1, pp=1, ga=2, total=64, fwd="ALLREDUCE 16777216", wg="NONE 0", layers=4, pp_comm=0):
    rows = [ROW.format(n=at, fwd=fwd, wg=wg) for at in range(layers)]
    header = HEADER.format(tp=tp, ep=ep, pp=pp, ga=ga, all=total) + f" pp_comm: {pp_comm}"
    return parse_workload("\n".join([header, str(layers), *rows]), "w")


def run(one, name="hpn7", jobs=1):
    fabric = family(name, one.all_gpus * jobs)
    return run_workload(fabric, one, place(fabric, one.all_gpus, jobs), PathOptions(policy="disjoint"))


def test_compute_alone_is_the_sum_of_its_lines():
    step = run(workload(fwd="NONE 0"))
    assert step.step_s == pytest.approx(4 * 3.0001e-3)
    assert step.exposed == []


def test_what_blocks_adds_and_what_hides_does_not():
    compute = run(workload(fwd="NONE 0")).step_s
    blocking = run(workload())
    assert blocking.step_s == pytest.approx(compute + blocking.exposed[0].exposed_s)
    assert blocking.exposed[0].dimension == "tp"
    hidden = run(workload(fwd="NONE 0", wg="ALLREDUCE 1048576"))
    late = next(one for one in hidden.exposed if one.dimension == "dp")
    assert late.exposed_s < late.total_s / 2, "all but the last layer's gradients hide behind the backward pass"
    assert hidden.step_s == pytest.approx(compute + late.exposed_s)


def test_a_pipeline_adds_its_bubble_and_hand_overs():
    flat = run(workload(fwd="NONE 0", total=64))
    piped = run(workload(fwd="NONE 0", pp=4, ga=8, total=64, pp_comm=1 << 20))
    assert piped.pp_s > 0
    assert piped.bubble_s == pytest.approx(3 / 8 * (flat.step_s + piped.pp_s))


def test_groups_partition_the_gpus():
    one = workload(tp=2, ep=4, pp=2, total=32)
    groups = groups_in(one, np.random.default_rng(0).permutation(32).astype(np.int32))
    assert {name: rows.shape[1] for name, rows in groups.items()} == {
        "tp": 2, "dp": 8, "ep": 4, "expert_dp": 2, "pp": 2
    }  # fmt: skip
    for rows in groups.values():
        assert sorted(rows.ravel().tolist()) == list(range(32))


def test_experts_that_need_tensor_ranks_too_get_them():
    groups = groups_in(workload(tp=8, ep=16, total=64, pp=1), np.arange(64, dtype=np.int32))
    assert groups["ep"].shape == (4, 16)


def test_it_is_for_as_many_gpus_as_it_says():
    fabric = family("hpn7", 64)
    with pytest.raises(UsageError, match="for 64 GPUs, not 32"):
        run_workload(fabric, workload(), place(fabric, 32))
