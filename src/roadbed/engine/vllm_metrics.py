"""vLLM's Prometheus page as a load report and a KV capacity.

Names as of vLLM v1: `vllm:num_requests_running`, `vllm:num_requests_waiting`, `vllm:kv_cache_usage_perc` (0..1; older
servers say `gpu_cache_usage_perc`), `vllm:cache_config_info{num_gpu_blocks,block_size}`, one sample per engine rank.
"""

from roadbed.engine import prometheus
from roadbed.engine.base import LoadReport
from roadbed.engine.prometheus import Sample, total

_USAGE_NAMES = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")


def read_load(page: bytes) -> LoadReport | None:
    """None when the page is not vLLM's. Usage is the mean over ranks."""
    samples = prometheus.parse(page.decode(errors="replace"))
    running = total(samples, "vllm:num_requests_running")
    if running is None:
        return None
    usage = [sample.value for name in _USAGE_NAMES for sample in samples if sample.name == name]
    generated = total(samples, "vllm:generation_tokens_total")
    return LoadReport(
        num_running=_count(running),
        num_waiting=_count(total(samples, "vllm:num_requests_waiting") or 0.0),
        kv_usage=min(1.0, max(0.0, sum(usage) / len(usage))) if usage and sum(usage) == sum(usage) else 0.0,
        num_tokens_total=None if generated is None else _count(generated),
    )


def read_kv_tokens(page: bytes) -> int | None:
    """num_gpu_blocks × block_size, summed over ranks; None when the server does not say."""
    samples = prometheus.parse(page.decode(errors="replace"))
    sizes = [_blocks(sample) for sample in samples if sample.name == "vllm:cache_config_info"]
    return sum(sizes) or None


def _blocks(sample: Sample) -> int:
    counts = [sample.labels.get(name, "") for name in ("num_gpu_blocks", "block_size")]
    if not all(text.isascii() and text.isdecimal() and len(text) < 12 for text in counts):
        return 0
    return int(counts[0]) * int(counts[1])


def _count(value: float) -> int:
    """NaN and infinities are a broken gauge, not a load."""
    return int(value) if 0 <= value < 2**53 else 0
