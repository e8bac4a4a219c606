"""Designs under one job."""

import pytest

from roadbed.fabric.collective.table import default_order, default_paths, default_placement
from roadbed.fabric.compare import assess
from roadbed.fabric.layout import place
from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import usual_cut
from tests.fabric.collective.net import family


def assessed(name, gpus=128, model="gpt3-175b", **cut):
    fabric = family(name, gpus)
    placed = place(fabric, gpus, how=default_placement(fabric), order=default_order(fabric))
    return assess(fabric, find_model(model), usual_cut(model, **cut), placed, default_paths(fabric))


def test_hashing_fills_queues_and_disjoint_paths_do_not():
    hpn, dcn = assessed("hpn7", 448, global_batch=56), assessed("dcn_plus", 448, global_batch=56)
    assert hpn.max_queue_bytes == 0.0
    assert dcn.max_queue_bytes > 10_000
    assert hpn.step.samples_per_s > dcn.step.samples_per_s
    assert hpn.step.cross_segment_bytes < dcn.step.cross_segment_bytes
    assert 0 < dcn.busiest_share <= 1 + 1e-9


def test_cost_per_gpu_is_the_designs():
    one = assessed("rail_only")
    assert one.usd_per_gpu == pytest.approx(one.design.usd / 128)
    assert one.design.num_switches == sum(tier.num for tier in one.design.tiers)


def test_what_sends_no_gradients_has_no_queue():
    one = assessed("hpn7", 64, model="gpt3-175b", global_batch=1)
    assert (one.max_queue_bytes, one.busiest_link) == (0.0, "")
