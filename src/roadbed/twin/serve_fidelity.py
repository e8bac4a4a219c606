"""How close the engine stand-in comes to a real engine: measured requests replayed, one number per claim.

A measured run is a JSON-lines file of requests with their tokens and times (the form LLMServingSim publishes its vLLM
runs in); `meta.json` beside it, where there is one, says how the engine was started. The real arrivals are replayed on
one stand-in, and errors are relative to what was measured. Two clocks are in such files (arrivals in epoch seconds, the
engine's own monotonic ones); they are aligned where a request was queued soonest after it arrived.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roadbed.errors import SpecError
from roadbed.profiles.model import StepModel, StepTimer
from roadbed.twin.serve_engine import Engine, Limits, Work
from roadbed.twin.stats import percentile
from roadbed.twin.table import HINT, Row, read_jsonl

_COLUMNS = ("input_toks", "output_toks", "arrival_time", "first_token_ts", "last_token_ts")


class Measured(msgspec.Struct, frozen=True):
    """One request of a real run; times in seconds from the first arrival."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    end_s: float

    @property
    def tpot_s(self) -> float:
        """Seconds per token after the first; 0 where there is one token alone."""
        first_s = self.arrival_s + self.ttft_s
        return (self.end_s - first_s) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0


class Started(msgspec.Struct, kw_only=True):
    """How the measured engine was started, as far as its meta.json tells."""

    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    tensor_parallel_size: int | None = None
    data_parallel_size: int | None = None


class _Meta(msgspec.Struct):
    engine_kwargs: Started = msgspec.field(default_factory=Started)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: measured and modelled in seconds, error = modelled / measured − 1."""

    name: str
    measured_s: float
    modelled_s: float

    @property
    def error(self) -> float:
        return self.modelled_s / self.measured_s - 1 if self.measured_s else 0.0


def read_measured(path: Path) -> list[Measured]:
    """Requests in order of arrival. SpecError on the row that makes no sense, or when there are none."""
    rows = [_row(row) for row in read_jsonl(path, _COLUMNS)]
    if not rows:
        raise SpecError(f"{path}: no requests", hint=HINT)
    shift = min(queued - arrival for arrival, queued, *_ in rows)
    start = min(arrival for arrival, *_ in rows)
    found = [
        Measured(
            arrival_s=arrival - start, prompt_tokens=prompt, output_tokens=output,
            ttft_s=max(0.0, first - shift - arrival), end_s=last - shift - start,
        )
        for arrival, _, first, last, prompt, output in rows
    ]  # fmt: skip
    return sorted(found, key=lambda request: request.arrival_s)


def read_started(path: Path) -> Started:
    """What meta.json beside the requests says; empty where there is none. SpecError where it is no JSON."""
    beside = path.parent / "meta.json"
    if not beside.is_file():
        return Started()
    try:
        return msgspec.json.decode(beside.read_bytes(), type=_Meta).engine_kwargs
    except (msgspec.DecodeError, RecursionError) as error:
        raise SpecError(f"{beside}: {error}", hint=HINT) from error


def replay(requests: Sequence[Measured], step: StepModel, limits: Limits, num_engines: int = 1) -> list[Work]:
    """The requests on stand-ins, in their order. ValueError where one can't run at all.

    Several engines are data-parallel ranks: a request goes to the one with the lowest 4 · waiting + running, as
    vLLM's own balancer does it. That ranks of a mixture of experts wait for each other is left out.
    """
    timer = StepTimer(step)
    engines = [Engine(timer, limits) for _ in range(num_engines)]
    ends: list[float] = [math.inf] * num_engines
    works = [Work(at, request.prompt_tokens, request.output_tokens) for at, request in enumerate(requests)]
    for work, request in zip(works, requests, strict=True):
        _run_until(engines, ends, request.arrival_s)
        rank = min(range(num_engines), key=lambda at: 4 * engines[at].num_waiting + engines[at].num_running)
        end_s = engines[rank].submit(work, request.arrival_s)
        ends[rank] = _time(engines[rank].begin(request.arrival_s) if end_s is None else end_s)
    _run_until(engines, ends, math.inf)
    return works


def _run_until(engines: Sequence[Engine], ends: list[float], until_s: float) -> None:
    """Ends and begins iterations up to and including a moment."""
    while (now := min(ends)) <= until_s and now < math.inf:
        rank = ends.index(now)
        engines[rank].end(now)
        ends[rank] = _time(engines[rank].begin(now))


def _time(end_s: float | None) -> float:
    return math.inf if end_s is None else end_s


def compare(requests: Sequence[Measured], works: Sequence[Work]) -> list[Comparison]:
    """TTFT, TPOT and latency: mean, p50, p99; and when the last request ended."""
    pairs = {
        "ttft": ([one.ttft_s for one in requests], [work.first_s - work.arrived_s for work in works]),
        "tpot": (
            [one.tpot_s for one in requests if one.output_tokens > 1],
            [(work.end_s - work.first_s) / (work.output_tokens - 1) for work in works if work.output_tokens > 1],
        ),
        "e2e": ([one.end_s - one.arrival_s for one in requests], [work.end_s - work.arrived_s for work in works]),
    }
    found = []
    for name, (measured, modelled) in pairs.items():
        measured, modelled = sorted(measured), sorted(modelled)
        if not measured:
            continue
        mean = sum(measured) / len(measured), sum(modelled) / len(modelled)
        found.append(Comparison(name=f"{name} mean", measured_s=mean[0], modelled_s=mean[1]))
        for share in (0.5, 0.99):
            both = percentile(measured, share), percentile(modelled, share)
            found.append(Comparison(name=f"{name} p{share * 100:.0f}", measured_s=both[0], modelled_s=both[1]))
    last = max(one.end_s for one in requests), max(work.end_s for work in works)
    found.append(Comparison(name="makespan", measured_s=last[0], modelled_s=last[1]))
    return found


def _row(row: Row) -> tuple[float, float, float, float, int, int]:
    arrival, first, last = row.number("arrival_time"), row.number("first_token_ts"), row.number("last_token_ts")
    queued = row.number("queued_ts", arrival)
    if last < first or first < queued:
        raise row.error("times run backwards: queued, first token, last token", "first_token_ts")
    return arrival, queued, first, last, row.integer("input_toks", least=1), row.integer("output_toks", least=1)
