"""From samples to numbers: percentiles by nearest rank (always a value that was measured), goodput under an SLO."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from roadbed.cli.load import Sample

PERCENTILES = (50, 90, 99)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """mean, p50, p90, p99 and max; None without values."""
    if not values:
        return {"mean": None, **{f"p{q}": None for q in PERCENTILES}, "max": None}
    ordered = sorted(values)
    ranks = {f"p{q}": ordered[-(-len(ordered) * q // 100) - 1] for q in PERCENTILES}
    return {"mean": sum(values) / len(values), **ranks, "max": ordered[-1]}


def meets(sample: Sample, slo: Mapping[str, float]) -> bool:
    """Whether a request was answered whole and within every target (seconds)."""
    measured = {"ttft": sample.ttft_s, "tpot": sample.tpot_s, "e2e": sample.total_s}
    if sample.error or sample.ttft_s is None:
        return False
    return all((measured[name] or 0.0) <= target for name, target in slo.items())


def report(samples: Sequence[Sample], wall_s: float, slo: Mapping[str, float]) -> dict[str, Any]:
    """What `bench --json` prints. Seconds; rates are per second of `wall_s`."""
    good = [sample for sample in samples if not sample.error]
    num_good = sum(meets(sample, slo) for sample in samples)
    output_tokens = sum(sample.completion_tokens for sample in good)
    return {
        "num_requests": len(samples),
        "num_ok": len(good),
        "wall_s": wall_s,
        "requests_per_s": len(good) / wall_s if wall_s else 0.0,
        "output_tokens_per_s": output_tokens / wall_s if wall_s else 0.0,
        "prompt_tokens": sum(sample.prompt_tokens for sample in good),
        "cached_tokens": sum(sample.cached_tokens for sample in good),
        "output_tokens": output_tokens,
        "ttft_s": percentiles([sample.ttft_s for sample in good if sample.ttft_s is not None]),
        "tpot_s": percentiles([sample.tpot_s for sample in good if sample.tpot_s is not None]),
        "e2e_s": percentiles([sample.total_s for sample in good]),
        "client_lag_s": percentiles([sample.lag_s for sample in samples]),
        "slo": dict(slo),
        "num_within_slo": num_good,
        "slo_attainment": num_good / len(samples) if samples else None,
        "goodput_per_s": num_good / wall_s if wall_s else 0.0,
        "errors": dict(Counter(sample.error for sample in samples if sample.error)),
        "replicas": dict(Counter(sample.replica for sample in samples if sample.replica)),
        "routes": dict(Counter(sample.route for sample in samples if sample.route)),
    }
