"""The report of a failure: throughput second by second, what happened when, and networks side by side."""

import math
from collections.abc import Sequence
from html import escape

from roadbed.fabric.constants import RDMA_GIVES_UP_S
from roadbed.fabric.outage import Outage
from roadbed.twin.page import figure, page, table
from roadbed.twin.svg import Series, bar_chart, line_chart

_MAX_EVENTS = 200


def render(outages: Sequence[Outage]) -> str:
    """One HTML file on the same fault in one or several networks."""
    first = outages[0]
    facts = (
        f"{first.op} of {first.bytes:,} bytes in a loop on {first.gpus} GPUs ({first.algorithm}), flow by flow.",
        "Routes follow a fault one convergence later; until then what crosses it is lost. A connection without "
        f"progress for {RDMA_GIVES_UP_S:.0f} s is given up by RDMA, and the job with it.",
    )
    body = f"<main>{_timeline(outages)}{_levels(outages)}</main><h2>Networks</h2>{_summary(outages)}"
    for one in outages:
        body += f"<h2>What happened: {escape(one.fabric)}</h2>{_events(one)}"
    return page(f"Failure: {_headline(first)}", facts, body)


def _headline(outage: Outage) -> str:
    return f"{outage.events[0][1]} at {outage.events[0][0]:g} s" if outage.events else "nothing broke"


def _timeline(outages: Sequence[Outage]) -> str:
    lines = [
        Series(one.fabric, [*((float(at), value / 1e9) for at, value in enumerate(one.seconds))], steps=True)
        for one in outages
    ]
    return figure("Bytes between servers, each second", line_chart(lines, "seconds", "GB/s"))


def _levels(outages: Sequence[Outage]) -> str:
    bars = [
        (f"{one.fabric} {name}", value / 1e9, math.nan)
        for one in outages
        for name, value in (("before", one.before), ("broken", one.during), ("after", one.after))
        if not math.isnan(value)
    ]
    return figure("Before, while broken, after", bar_chart(bars, "GB/s"))


def _summary(outages: Sequence[Outage]) -> str:
    headers = (
        "network", "ToRs per card", "before GB/s", "broken GB/s", "rerouted GB/s", "after GB/s", "stalled s",
        "longest s", "cut off", "iterations", "iteration ms", "largest queue kB", "at", "job",
    )  # fmt: skip
    rows = [
        (
            one.fabric, "2" if one.dual_tor else "1", _number(one.before / 1e9), _number(one.during / 1e9),
            _number(one.rerouted / 1e9), _number(one.after / 1e9), _number(one.stalled_s), _number(one.longest_stall_s),
            str(one.cut_off), f"{one.iterations:,}", _number(one.iteration_s * 1e3),
            _number(one.peak_queue_bytes / 1e3), one.peak_queue_link if one.peak_queue_bytes else "-",
            "survives" if one.job_lost_s is None else f"lost at {one.job_lost_s:.1f} s",
        )
        for one in outages
    ]  # fmt: skip
    return table(headers, rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.4g}"


def _events(outage: Outage) -> str:
    rows = [(f"{when:g} s", words) for when, words in outage.events[:_MAX_EVENTS]]
    if len(outage.events) > _MAX_EVENTS:
        rows.append(("…", f"{len(outage.events) - _MAX_EVENTS} more"))
    return table(("time", "event"), rows)
