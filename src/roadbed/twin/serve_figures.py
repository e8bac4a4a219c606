"""What became of every request, and what that is worth in numbers.

TTFT, inter-token latency and end-to-end latency are taken from the moment the client first asked, queue and retries
included. A request's inter-token latency is its mean (TPOT): (last − first token) / (tokens − 1). Goodput counts
requests that met every SLO over all that asked: who was shed missed.
"""

import math
from array import array
from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from roadbed.router.base import Decision
from roadbed.twin.serve_engine import Work
from roadbed.twin.serve_fleet_scale import Tally

Floats = NDArray[np.float64]


class Spread(msgspec.Struct, frozen=True):
    """Seconds; all 0 for none."""

    mean: float
    p50: float
    p90: float
    p99: float


class Sample(msgspec.Struct, frozen=True):
    """One moment, per replica where it is a list."""

    at_s: float
    queued: int
    running: list[int]
    waiting: list[int]
    kv_usage: list[float]
    arrived: int = 0
    """Requests that came so far."""
    starting: int = 0
    """Replicas asked for and not ready."""


class Row(msgspec.Struct, kw_only=True):
    """One run in numbers, as `roadbed twin serve --json` prints it."""

    router: str
    replicas: int
    speedup: float
    kv_blocks: int
    ttft_s: Spread
    itl_s: Spread
    e2e_s: Spread
    goodput_share: float
    output_tokens_per_s: float
    reuse: float
    shed: int
    wall_s: float
    requests: int
    preemptions: int
    makespan_s: float
    busy_share: float
    prediction_error: float | None
    """Median of |predicted − real TTFT| / real; None where nothing was predicted."""
    shed_reasons: dict[str, int] = {}
    seed: int = 0
    samples: list[Sample] = []
    profile: str = ""
    labels: list[str] = []
    """Per replica of a mixed fleet, its profile."""
    change: str = ""
    """Of a what-if: what is different. Of a fixed fleet beside autoscaled ones: what it is as good as."""
    base: str = ""
    """Names what was run; what-ifs have the name of what they change."""
    split: str | None = None
    """Prefill and decode servers, as asked for. This and what follows is None where it does not apply."""
    role_changes: int | None = None
    kv_moved_bytes: int | None = None
    transfer_s: Spread | None = None
    """KV caches under way, from the first byte to the last."""
    fleet: str | None = None
    """A mixed fleet as it is written."""
    cny_per_hour: float | None = None
    cny_per_million_tokens: float | None = None
    """Of output."""
    autoscaler: str | None = None
    """`fixed`: a fleet that never changed, as a reference."""
    target: float | None = None
    gpu_hours: float | None = None
    cost_cny: float | None = None
    scale_events: int | None = None
    """Decisions to have more or fewer replicas."""
    peak_replicas: int | None = None
    mean_replicas: float | None = None
    """Paid for: from the decision to start until gone."""


class Outcomes:
    """Columns by request number, nan until it is over. Filled by the world, read by `row`."""

    __slots__ = (
        "busy_s", "cached_tokens", "e2e_s", "end_s", "itl_s", "num_preemptions", "output_tokens", "predicted_s",
        "prompt_tokens", "reasons", "samples", "slots", "tally", "ttft_s",
    )  # fmt: skip

    def __init__(self, num: int) -> None:
        self.ttft_s, self.itl_s, self.e2e_s, self.end_s, self.predicted_s = (
            array("d", [math.nan]) * num for _ in range(5)
        )
        self.prompt_tokens, self.cached_tokens, self.output_tokens = (array("q", [0]) * num for _ in range(3))
        self.slots = array("i", [-1]) * num
        self.reasons: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.num_preemptions = 0
        self.busy_s: list[float] = []
        """Per replica that was there."""
        self.tally: Tally | None = None
        """Of a fleet that changed."""

    def sent(self, number: int, decision: Decision) -> None:
        """The request went to a replica."""
        self.slots[number] = decision.slot
        self.predicted_s[number] = decision.predicted_ttft_s

    def over(self, work: Work, asked_s: float) -> None:
        """The request has its last token."""
        at = work.number
        if not math.isnan(self.e2e_s[at]):
            raise ValueError(f"request {at} ended twice")
        self.ttft_s[at] = work.first_s - asked_s
        self.itl_s[at] = (work.end_s - work.first_s) / (work.output_tokens - 1) if work.output_tokens > 1 else 0.0
        self.e2e_s[at] = work.end_s - asked_s
        self.end_s[at] = work.end_s
        self.predicted_s[at] += work.arrived_s - asked_s
        self.prompt_tokens[at] = work.prompt_tokens
        self.cached_tokens[at] = work.cached_tokens
        self.output_tokens[at] = work.output_tokens

    def shed(self, number: int, reason: str) -> None:
        """The request was turned away for good."""
        self.slots[number] = -2
        self.reasons[reason] += 1


def row(
    outcomes: Outcomes, *, router: str, replicas: int, speedup: float, kv_blocks: int, wall_s: float,
    slo_ttft_s: float | None = None, slo_itl_s: float | None = None,
) -> Row:  # fmt: skip
    """The figures of a run."""
    ttft, itl, e2e = (np.frombuffer(column, np.float64) for column in (outcomes.ttft_s, outcomes.itl_s, outcomes.e2e_s))
    done = ~np.isnan(e2e)
    tokens = np.frombuffer(outcomes.output_tokens, np.int64)
    several = done & (tokens > 1)
    met = done.copy()
    if slo_ttft_s is not None:
        met &= np.less_equal(ttft, slo_ttft_s, where=done, out=np.zeros_like(done))
    if slo_itl_s is not None:
        met &= np.less_equal(itl, slo_itl_s, where=done, out=np.zeros_like(done))
    ends = np.frombuffer(outcomes.end_s, np.float64)[done]
    makespan_s = float(ends.max()) if len(ends) else 0.0
    prompts = sum(outcomes.prompt_tokens)
    tally = outcomes.tally
    replica_s = len(outcomes.busy_s) * makespan_s if tally is None else tally.replica_s
    return Row(
        router=router, replicas=replicas, speedup=speedup, kv_blocks=kv_blocks, ttft_s=spread(ttft[done]),
        itl_s=spread(itl[several]), e2e_s=spread(e2e[done]), goodput_share=float(met.mean()) if len(met) else 0.0,
        output_tokens_per_s=float(tokens.sum()) / makespan_s if makespan_s else 0.0,
        reuse=sum(outcomes.cached_tokens) / prompts if prompts else 0.0, shed=sum(outcomes.reasons.values()),
        wall_s=wall_s, requests=len(e2e), preemptions=outcomes.num_preemptions, makespan_s=makespan_s,
        busy_share=sum(outcomes.busy_s) / replica_s if replica_s else 0.0,
        prediction_error=_prediction_error(outcomes, ttft, done), shed_reasons=dict(outcomes.reasons),
        samples=outcomes.samples,
    )  # fmt: skip


def priced(row: Row, hourly_cny: float) -> None:
    """Sets what it costs, from CNY per hour of the whole fleet; nothing where the price is unknown (0)."""
    if hourly_cny > 0.0:
        row.cny_per_hour = hourly_cny
        row.cny_per_million_tokens = (
            hourly_cny / (row.output_tokens_per_s * 3600) * 1e6 if row.output_tokens_per_s else 0.0
        )


def scaled(row: Row, tally: Tally, *, autoscaler: str, devices: int, cost_per_hour: float) -> None:
    """Sets what a fleet that may change used. devices: of one replica, as is cost_per_hour (CNY, 0 = unknown)."""
    row.autoscaler = autoscaler
    row.gpu_hours = tally.replica_s * devices / 3600
    row.scale_events = tally.num_up + tally.num_down
    row.peak_replicas = tally.peak
    row.mean_replicas = tally.replica_s / row.makespan_s if row.makespan_s else 0.0
    if cost_per_hour > 0.0:
        row.cost_cny = tally.replica_s * cost_per_hour / 3600
        priced(row, row.mean_replicas * cost_per_hour)


def spread(values: Floats) -> Spread:
    """Mean and percentiles, linear between neighbours; zeros for none."""
    if not len(values):
        return Spread(0.0, 0.0, 0.0, 0.0)
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return Spread(float(values.mean()), float(p50), float(p90), float(p99))


def _prediction_error(outcomes: Outcomes, ttft: Floats, done: NDArray[np.bool_]) -> float | None:
    predicted = np.frombuffer(outcomes.predicted_s, np.float64)
    known = done & (ttft > 0) & (predicted > 0)
    if not known.any():
        return None
    return float(np.median(np.abs(predicted[known] - ttft[known]) / ttft[known]))
