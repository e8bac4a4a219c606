"""Yesterday's traffic as a trace: lines of the gateways' logs in, rows for `roadbed twin serve` out, and what they say.

The trace keeps when requests came, how long they were and which prefixes and sessions they shared: what a router can do
something about. It does not keep who waited for whom: a client that would have asked later, had it been answered later,
asks at the same moment in the replay.
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from roadbed.errors import NotFoundError, SpecError
from roadbed.router.traffic import BLOCK_TOKENS, Seen

MAX_LINE = 1 << 20
PREDICTED_LEAST_S = 1e-4
"""Shorter predictions are no prediction: ratios to them say nothing."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted against measured time to first token."""

    requests: int
    ratio_p10: float
    """Measured ÷ predicted."""
    ratio_p50: float
    ratio_p90: float
    mean_predicted_s: float
    mean_measured_s: float
    mean_abs_error_s: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a log holds."""

    requests: int
    services: dict[str, int]
    begin: float
    """Unix seconds."""
    span_s: float
    requests_per_s: float
    prompt_tokens_mean: float
    output_tokens_mean: float
    cached_share: float
    """Of prompt tokens, as the engines said."""
    reusable_share: float
    """Of full prompt blocks, those some earlier request had: what a cache without end would hold."""
    left_out: int
    """Requests that never ran (shed, failed) and broken lines."""
    prediction: Prediction | None


def read_log(folder: Path) -> tuple[list[Seen], int]:
    """All requests of all workers in order of arrival, and broken lines: a killed worker may leave half a line.

    NotFoundError when there is no log; SpecError naming the file when more lines are broken than whole.
    """
    files = sorted(folder.glob("gateway-*.jsonl"))
    if not files:
        raise NotFoundError(
            f"there is no traffic log in {folder}",
            hint="roadbed up, send some requests, and see that gateway.traffic_log is not 0 in config.yaml",
            field="log",
        )
    decoder = msgspec.json.Decoder(Seen)
    seen, broken = [], 0
    for path in files:
        good = bad = 0
        with path.open("rb") as file:
            for line in _lines(file):
                try:
                    seen.append(decoder.decode(line))
                    good += 1
                except msgspec.DecodeError:
                    bad += 1
        if bad > good:
            raise SpecError(f"{path}: {bad} of {good + bad} lines are no requests", field="log")
        broken += bad
    return sorted(seen, key=lambda one: one.at), broken


def _lines(file: Any) -> Iterable[bytes]:
    while line := file.readline(MAX_LINE):
        if line.strip():
            yield line


def chosen(
    seen: Sequence[Seen], *, service: str | None = None, since: float = 0.0, until: float = float("inf")
) -> list[Seen]:
    """Requests of one service and time. NotFoundError names the services there are."""
    names = sorted({one.service for one in seen})
    if service is not None and service not in names:
        raise NotFoundError(
            f"no request of service {service!r} is in the log; there are {', '.join(names)}", field="service"
        )
    found = [one for one in seen if since <= one.at <= until and service in (None, one.service)]
    if not found:
        raise NotFoundError("no request of that time is in the log", hint="roadbed twin from-log", field="since")
    return found


def trace_rows(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """Rows of the generic trace format, blocks and sessions renumbered from 1, the first at 0 s."""
    rows, numbers, sessions = [], dict[int, int](), dict[int, int]()
    for one in runnable(seen):
        blocks = one.blocks[: one.prompt_tokens // BLOCK_TOKENS]
        row: dict[str, Any] = {
            "arrival_s": round(one.at - seen[0].at, 6),
            "prompt_tokens": one.prompt_tokens,
            "output_tokens": max(1, one.output_tokens),
            "block_hashes": [numbers.setdefault(block, len(numbers) + 1) for block in blocks],
            "block_tokens": BLOCK_TOKENS,
            "priority": one.priority,
        }
        if one.session:
            row["session"] = f"s{sessions.setdefault(one.session, len(sessions) + 1)}"
        rows.append(row)
    return rows


def runnable(seen: Sequence[Seen]) -> list[Seen]:
    """Those that an engine worked on."""
    return [one for one in seen if one.outcome in ("ok", "client_gone") and one.prompt_tokens > 0]


def summarise(seen: Sequence[Seen], broken: int) -> Summary:
    """What the requests say. seen: in order of arrival, not empty."""
    ran = runnable(seen)
    span = seen[-1].at - seen[0].at
    services: dict[str, int] = {}
    for one in seen:
        services[one.service] = services.get(one.service, 0) + 1
    prompt = sum(one.prompt_tokens for one in ran)
    blocks, known = [block for one in ran for block in one.blocks], set[int]()
    again = 0
    for block in blocks:
        again += block in known
        known.add(block)
    return Summary(
        requests=len(seen),
        services=services,
        begin=seen[0].at,
        span_s=span,
        requests_per_s=len(seen) / span if span > 0 else 0.0,
        prompt_tokens_mean=prompt / len(ran) if ran else 0.0,
        output_tokens_mean=statistics.fmean(one.output_tokens for one in ran) if ran else 0.0,
        cached_share=sum(one.cached_tokens for one in ran) / prompt if prompt else 0.0,
        reusable_share=again / len(blocks) if blocks else 0.0,
        left_out=len(seen) - len(ran) + broken,
        prediction=_prediction(ran),
    )


def _prediction(ran: Sequence[Seen]) -> Prediction | None:
    pairs = [
        (one.predicted_ttft_s, one.ttft_s) for one in ran if one.ttft_s and one.predicted_ttft_s > PREDICTED_LEAST_S
    ]
    if not pairs:
        return None
    ratios = sorted(measured / predicted for predicted, measured in pairs)
    return Prediction(
        requests=len(pairs),
        ratio_p10=_quantile(ratios, 0.1),
        ratio_p50=_quantile(ratios, 0.5),
        ratio_p90=_quantile(ratios, 0.9),
        mean_predicted_s=statistics.fmean(predicted for predicted, _ in pairs),
        mean_measured_s=statistics.fmean(measured for _, measured in pairs),
        mean_abs_error_s=statistics.fmean(abs(measured - predicted) for predicted, measured in pairs),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
