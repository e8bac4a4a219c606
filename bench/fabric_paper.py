"""HPN 7.0 (SIGCOMM'24), figure 17 and the three 448-GPU models of §9.1: published, ours, relative error.

448 H800s: HPN in one segment with disjoint paths; DCN+ on servers scattered over its pod, ECMP with the same hash seed
in all tiers, mean over 64 draws of source ports. All constants are those of fabric/constants.py, fitted to none of it.
Published values were read off figures; where one reads "~0" there is no error to give. Batches of the models are not
published: 1,792 samples for LLaMa, 448 for GPT-3; all-reduced gradients as in the paper's table 3.

    python -m bench.fabric_paper [--save]
"""

import argparse
import statistics

from bench.common import save
from roadbed.fabric import registry
from roadbed.fabric.base import Fabric
from roadbed.fabric.collective.table import (
    collective_rows,
    default_order,
    default_paths,
    default_placement,
    num_draws,
)  # fmt: skip
from roadbed.fabric.layout import place
from roadbed.fabric.step.model import find_model
from roadbed.fabric.step.parallel import usual_cut
from roadbed.fabric.step.run import run_step

SIZES = [1 << (20 + 2 * at) for at in range(7)]
NAMES = ["1M", "4M", "16M", "64M", "256M", "1G", "4G"]
FIGURE_17 = {
    ("allreduce", "dcn_plus"): [10, 20.5, 49.1, 103.1, 125.4, 126.6, 129.2],
    ("allreduce", "hpn7"): [10.0, 28.3, 55.6, 106.9, 146.7, 183.1, 206.9],
    ("allgather", "dcn_plus"): [0, 1.5, 4.7, 20.6, 68.7, 137.7, 140.8],
    ("allgather", "hpn7"): [0, 2.6, 5.4, 25.0, 89.6, 144.1, 147.8],
}
MODELS = {"llama-7b": (690.7, 745.4, 1792), "llama-13b": (681.7, 779.9, 1792), "gpt3-175b": (25.7, 27.3, 448)}
"""DCN+, HPN samples/s; our batch."""


def drawn(fabric: Fabric) -> list:
    how, order = default_placement(fabric), default_order(fabric)
    return [place(fabric, 448, how=how, order=order, seed=at) for at in range(num_draws(fabric, default_paths(fabric)))]


def figure_17(fabrics: dict[str, Fabric]) -> list[dict]:
    rows = []
    for (op, name), published in FIGURE_17.items():
        ours = collective_rows(fabrics[name], op, SIZES, drawn(fabrics[name]))
        for size, said, row in zip(NAMES, published, ours, strict=True):
            error = row.busbw_gbytes_s / said - 1 if said else None
            rows.append(
                {"op": op, "fabric": name, "size": size, "published": said, "ours": round(row.busbw_gbytes_s, 1),
                 "error": error and round(error, 3), "algorithm": row.algorithm}
            )  # fmt: skip
    return rows


def per_rail(fabrics: dict[str, Fabric]) -> list[dict]:
    out = []
    for name, fabric in fabrics.items():
        rows = collective_rows(fabric, "allreduce", SIZES, drawn(fabric), groups="rail")
        out += [
            {"op": "allreduce, one per rail", "fabric": name, "size": size, "ours": round(row.busbw_gbytes_s, 1)}
            for size, row in zip(NAMES, rows, strict=True)
        ]
    return out


def models(fabrics: dict[str, Fabric]) -> list[dict]:
    rows = []
    for model, (dcn, hpn, batch) in MODELS.items():
        ours = {}
        for name, fabric in fabrics.items():
            gpus = place(fabric, 448, how=default_placement(fabric), order=default_order(fabric))
            cut = usual_cut(model, global_batch=batch)
            ours[name] = run_step(fabric, find_model(model), cut, gpus, default_paths(fabric))
        got = [ours[name].samples_per_s for name in ("dcn_plus", "hpn7")]
        rows.append(
            {"model": model, "published": [dcn, hpn], "ours": [round(one, 1) for one in got],
             "error": [round(one / said - 1, 3) for one, said in zip(got, (dcn, hpn), strict=True)],
             "published_gain": round(hpn / dcn - 1, 3), "our_gain": round(got[1] / got[0] - 1, 3),
             "mfu": [round(ours[name].mfu, 3) for name in ("dcn_plus", "hpn7")]}
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    save_it = parser.parse_args().save
    fabrics = {name: registry.build(name, gpus=448) for name in ("dcn_plus", "hpn7")}
    table = figure_17(fabrics)
    print(f"{'busbw GB/s':32} {'published':>10} {'ours':>8} {'error':>8}")
    for row in table:
        error = f"{row['error']:+.1%}" if row["error"] is not None else "-"
        print(
            f"{row['op']:10} {row['fabric']:9} {row['size']:5} {row['algorithm']:>9} "
            f"{row['published']:>8} {row['ours']:>8} {error:>8}"
        )
    large = [abs(row["error"]) for row in table if row["op"] == "allreduce" and row["size"] in NAMES[3:]]
    every = [abs(row["error"]) for row in table if row["error"] is not None and row["op"] == "allreduce"]
    gather = [
        abs(row["error"])
        for row in table
        if row["error"] is not None and row["op"] == "allgather" and row["size"] in NAMES[3:]
    ]
    summary = {
        "allreduce_64M_4G_mean_abs_error": round(statistics.fmean(large), 3),
        "allreduce_64M_4G_worst": round(max(large), 3),
        "allreduce_all_mean_abs_error": round(statistics.fmean(every), 3),
        "allgather_64M_4G_mean_abs_error": round(statistics.fmean(gather), 3),
    }  # fmt: skip
    print(summary)
    rails = per_rail(fabrics)
    for row in rails:
        print(f"{row['op']:26} {row['fabric']:9} {row['size']:5} {row['ours']:>8}")
    steps = models(fabrics)
    for row in steps:
        print(row)
    if save_it:
        save("fabric_paper", "python -m bench.fabric_paper --save", [*table, summary, *rails, *steps])


if __name__ == "__main__":
    main()
