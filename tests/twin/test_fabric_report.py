"""Reports on networks are whole pages with the numbers in them."""

import numpy as np

from roadbed.fabric.collective.table import collective_rows, default_order, default_paths, default_placement
from roadbed.fabric.compare import assess
from roadbed.fabric.layout import place
from roadbed.fabric.registry import build
from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import usual_cut
from roadbed.twin.fabric_report import Load, collective_report, compare_report

SIZES = [1 << 20, 1 << 26, 1 << 32]


def test_a_collective_with_its_load() -> None:
    fabric = build("dcn_plus", gpus=128)
    rows = collective_rows(fabric, "allreduce", SIZES, [place(fabric, 128)])
    use = np.where(fabric.link_kind == 3, 0.5, 0.0)
    page = collective_report({"chosen": rows}, Load(fabric, use, "all at once"))
    assert page.startswith("<!doctype html>")
    assert f"{rows[-1].busbw_gbytes_s:,.1f}" in page
    assert "dcn_plus: all at once" in page
    assert page.count("<svg") == 5
    assert "busiest switches" in page


def test_without_a_load_there_is_no_picture() -> None:
    fabric = build("hpn7", gpus=16)
    rows = collective_rows(fabric, "alltoall", SIZES, [place(fabric, 16)])
    assert collective_report({"pxn": rows}, None).count("<svg") == 2


def test_designs_side_by_side() -> None:
    rows, fabrics, curves = [], [], {}
    for name in ("hpn7", "dcn_plus"):
        fabric = build(name, gpus=128)
        placed = place(fabric, 128, how=default_placement(fabric), order=default_order(fabric))
        rows.append(assess(fabric, find_model("gpt3-175b"), usual_cut("gpt3-175b"), placed, default_paths(fabric)))
        fabrics.append(fabric)
        curves[name] = collective_rows(fabric, "allreduce", SIZES, [placed])
    page = compare_report(rows, fabrics, curves)
    for row in rows:
        assert f"{row.step.samples_per_s:,.1f}" in page
        assert f"{row.fabric}: all gradients at once" in page
    assert "reducescatter" in page
    assert page.count("<svg") == 6 + 2 * 3
