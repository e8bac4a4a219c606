"""Reports on networks: bandwidth by size, where the load is, and designs side by side."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric, Floats, Ints, Kind
from roadbed.fabric.collective.table import Row
from roadbed.fabric.compare import Compared
from roadbed.fabric.draw import svg
from roadbed.twin.page import figure, page, table
from roadbed.twin.svg import Series, bar_chart, heat_map, line_chart

_MOST_SWITCHES = 64
GB = 1e9


class Load(msgspec.Struct, frozen=True):
    """A network and the use of its links."""

    fabric: Fabric
    utilisation: Floats
    """[L] Of capacity."""
    words: str
    """What was running."""


def collective_report(curves: Mapping[str, Sequence[Row]], load: Load | None) -> str:
    """Bandwidth by size, one line per name (an algorithm, a network), and the links of one of them under load."""
    rows = [row for some in curves.values() for row in some]
    first = rows[0]
    facts = (
        f"{first.op} on {first.gpus:,} GPUs × {first.concurrent}, {first.ranks:,} ranks each, paths {first.paths}.",
        "Rates are max–min fair over the links of every connection; hashed connections are averaged over draws.",
    )
    body = f"<main>{_curves(curves)}{_times(curves)}</main>"
    if load is not None:
        body += _load(load)
    headers = ("line", "bytes", "algorithm", "time ms", "algbw GB/s", "busbw GB/s")
    cells = [
        (name, f"{row.bytes:,}", row.algorithm, f"{row.time_s * 1e3:,.3f}", f"{row.algbw_gbytes_s:,.1f}",
         f"{row.busbw_gbytes_s:,.1f}")
        for name, some in curves.items() for row in some
    ]  # fmt: skip
    return page(f"{first.op} on {first.fabric}", facts, body + "<h2>Rows</h2>" + table(headers, cells))


def _curves(curves: Mapping[str, Sequence[Row]]) -> str:
    lines = [
        Series(name, [(math.log2(row.bytes), row.busbw_gbytes_s) for row in rows]) for name, rows in curves.items()
    ]
    return figure("Bus bandwidth by size", line_chart(lines, "log2 of bytes (20 = 1 MiB, 30 = 1 GiB)", "busbw GB/s"))


def _times(curves: Mapping[str, Sequence[Row]]) -> str:
    lines = [
        Series(name, [(math.log2(row.bytes), math.log10(row.time_s * 1e3)) for row in rows])
        for name, rows in curves.items()
    ]
    chart = line_chart(lines, "log2 of bytes", "log10 of ms", y_from_zero=False)
    return figure("Time by size", chart)


def _load(load: Load) -> str:
    """The picture of the network coloured by use, and a map of its busiest switches' links."""
    drawn = figure("Links by use", svg(load.fabric, utilisation=load.utilisation))
    return f"<h2>{escape(load.fabric.name)}: {escape(load.words)}</h2>{drawn}<main>{_map(load)}{_spread(load)}</main>"


def _switch_links(fabric: Fabric, use: Floats) -> list[Ints]:
    """Links leaving each of the switches that carry most, in port order."""
    switches = np.flatnonzero(fabric.kind >= Kind.TOR)
    total = np.bincount(fabric.src, weights=use, minlength=fabric.num_nodes)[switches]
    chosen = np.sort(switches[np.argsort(-total, kind="stable")[:_MOST_SWITCHES]])
    return [fabric.leaving(int(one)) for one in chosen]


def _map(load: Load) -> str:
    links = _switch_links(load.fabric, load.utilisation)
    if not links:
        return ""
    ports = max(len(some) for some in links)
    rows = [[*load.utilisation[some].tolist(), *([0.0] * (ports - len(some)))] for some in links]
    chart = heat_map(rows, "port", "switch", float(ports))
    return figure(f"Use of ports of the {len(links)} busiest switches", chart)


def _spread(load: Load) -> str:
    """How evenly a tier is used: links in order of use."""
    fabric, lines = load.fabric, []
    for low, high, name in ((Kind.TOR, Kind.AGG, "ToR to Agg"), (Kind.AGG, Kind.TOR, "Agg to ToR"),
                            (Kind.TOR, Kind.NIC, "ToR to card"), (Kind.AGG, Kind.CORE, "Agg to Core")):  # fmt: skip
        mine = (fabric.kind[fabric.src] == low) & (fabric.kind[fabric.dst] == high)
        if mine.any() and load.utilisation[mine].any():
            use = np.sort(load.utilisation[mine])[::-1]
            share = np.linspace(0, 100, len(use))
            lines.append(Series(name, list(zip(share.tolist(), (100 * use).tolist(), strict=True))))
    return figure("How evenly links are used", line_chart(lines, "% of the tier's links, fullest first", "% used"))


def compare_report(rows: Sequence[Compared], fabrics: Sequence[Fabric], curves: Mapping[str, Sequence[Row]]) -> str:
    """Designs side by side: what a step takes and why, all-reduce by size, cost and power, and each one's load."""
    step = rows[0].step
    cut = step.parallel
    facts = (
        f"{step.model} on {step.gpus:,} GPUs × {step.num_jobs}: tensor {cut.tp}, pipeline {cut.pp}, data {step.dp}, "
        f"{step.samples:,} samples a step.",
        "Compute is a roofline at a declared efficiency. Queues, prices and power are estimates; a switch is priced by "
        "the ports it uses.",
    )
    charts = (
        _bars("Samples per second", [(row.fabric, row.step.samples_per_s) for row in rows], "samples/s"),
        _bars("Exposed communication", [(row.fabric, 100 * _exposed(row)) for row in rows], "% of the step"),
        _bars("Cost per GPU", [(row.fabric, row.usd_per_gpu) for row in rows], "USD"),
        _bars("Power per GPU", [(row.fabric, row.watts_per_gpu) for row in rows], "W"),
        _curves(curves),
        _bars("Fullest queue of a switch", [(row.fabric, row.max_queue_bytes / 1e3) for row in rows], "kB"),
    )
    body = f"<main>{''.join(charts)}</main><h2>Designs</h2>{_designs(rows)}<h2>Where a step goes</h2>{_parts(rows)}"
    for row, fabric in zip(rows, fabrics, strict=True):
        body += _load(Load(fabric, row.utilisation, "all gradients at once"))
    return page(f"{' · '.join(row.fabric for row in rows)} under {step.model}", facts, body)


def _bars(title: str, bars: Sequence[tuple[str, float]], unit: str) -> str:
    return figure(title, bar_chart([(name, value, math.nan) for name, value in bars], unit))


def _exposed(row: Compared) -> float:
    return sum(one.exposed_s for one in row.step.exposed) / row.step.step_s


def _designs(rows: Sequence[Compared]) -> str:
    headers = (
        "design", "paths", "step s", "samples/s", "MFU", "cross-segment GB", "max queue kB", "switches",
        "paths between segments", "bisection TB/s", "USD per GPU", "W per GPU",
    )  # fmt: skip
    cells = [
        (row.fabric, row.paths, f"{row.step.step_s:.3f}", f"{row.step.samples_per_s:,.1f}", f"{row.step.mfu:.1%}",
         f"{row.step.cross_segment_bytes / GB:,.0f}", f"{row.max_queue_bytes / 1e3:,.0f}",
         f"{row.design.num_switches:,}", f"{row.design.paths.cross_segment:,}",
         f"{row.design.bisection_segments_bytes_s / 1e12:,.2f}", f"{row.usd_per_gpu:,.0f}", f"{row.watts_per_gpu:,.0f}")
        for row in rows
    ]  # fmt: skip
    return table(headers, cells)


def _parts(rows: Sequence[Compared]) -> str:
    headers = ("design", "what", "operation", "algorithm", "ranks", "bytes", "times", "total s", "exposed s")
    cells = [(row.fabric, "compute", "", "", "", "", "", f"{row.step.compute_s:.3f}", f"{row.step.compute_s:.3f}")
             for row in rows]  # fmt: skip
    cells += [
        (row.fabric, one.dimension, one.op, one.algorithm, str(one.num_ranks), f"{one.size:,.0f}", f"{one.times:,.0f}",
         f"{one.total_s:.3f}", f"{one.exposed_s:.3f}")
        for row in rows for one in row.step.exposed
    ]  # fmt: skip
    cells += [(row.fabric, "bubble", "", "", "", "", "", f"{row.step.bubble_s:.3f}", f"{row.step.bubble_s:.3f}")
              for row in rows if row.step.bubble_s]  # fmt: skip
    return table(headers, cells)
