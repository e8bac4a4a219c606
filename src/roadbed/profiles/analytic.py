"""A step-time model from data sheets alone, for pairs nobody has measured: the roofline with usual efficiencies.

    dense(t)  = max(bytes of weights / (bandwidth · 0.75), 2 · active parameters · t / (FLOP/s · 0.55))
    KV        = bytes per token / (bandwidth · 0.75) for every token a decode reads
    chunk(c)  = 2 · layers · heads · head size · c² / (FLOP/s · 0.4), context: the same per cached token, times two
    fixed     = 1 ms of host work per iteration

The efficiencies are those of the measured pairs within a third either way, so orders of magnitude are right and
comparisons between chips fair; absolute figures are not to be promised to anybody. Sizes of models are their published
configurations.
"""

import msgspec

from roadbed.errors import NotFoundError
from roadbed.hardware.chips import Chip, chip
from roadbed.profiles.model import Curve, StepModel, line

_BANDWIDTH_SHARE = 0.75
_DENSE_SHARE = 0.55
_ATTENTION_SHARE = 0.4
_FIXED_S = 0.001
_MEMORY_SHARE = 0.9
_DTYPE_BYTES = {"fp8": 1, "int8": 1, "bf16": 2, "fp16": 2}
_MIB = 1 << 20
_KNOTS = (1, 8, 32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192, 16384)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder's sizes. active_params: those one token goes through."""

    params: float
    active_params: float
    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    num_experts: int = 0
    experts_per_token: int = 0

    def kv_bytes_per_token(self, element_bytes: int = 2) -> int:
        """Keys and values of one token over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_size * element_bytes


SHAPES = {
    "llama-3.1-8b": Shape(params=8.03e9, active_params=7.5e9, num_layers=32, hidden=4096, num_heads=32, num_kv_heads=8,
                          head_size=128),
    "llama-3.3-70b": Shape(params=70.6e9, active_params=69.5e9, num_layers=80, hidden=8192, num_heads=64,
                           num_kv_heads=8, head_size=128),
    "qwen2.5-7b": Shape(params=7.62e9, active_params=7.07e9, num_layers=28, hidden=3584, num_heads=28, num_kv_heads=4,
                        head_size=128),
    "qwen3-8b": Shape(params=8.19e9, active_params=7.57e9, num_layers=36, hidden=4096, num_heads=32, num_kv_heads=8,
                      head_size=128),
    "qwen3-32b": Shape(params=32.8e9, active_params=31.9e9, num_layers=64, hidden=5120, num_heads=64, num_kv_heads=8,
                       head_size=128),
    "qwen3-30b-a3b": Shape(params=30.5e9, active_params=3.0e9, num_layers=48, hidden=2048, num_heads=32,
                           num_kv_heads=4, head_size=128, num_experts=128, experts_per_token=8),
}  # fmt: skip


def step_model(shape: Shape, chip: Chip, dtype: str) -> StepModel:
    """The roofline above. ValueError when the chip does not compute the dtype or its bandwidth is unknown."""
    flops, bandwidth = chip.flops_of(dtype, "bf16", "fp16"), chip.memory_bandwidth_bytes_s * _BANDWIDTH_SHARE
    if not flops or not bandwidth:
        raise ValueError(f"{chip.name} has no known figures for {dtype}")
    bytes_each = _DTYPE_BYTES[dtype]
    times = []
    for tokens in _KNOTS:
        woken = _woken_params(shape, tokens)
        times.append(max(woken * bytes_each / bandwidth, 2 * shape.active_params * tokens / (flops * _DENSE_SHARE)))
    per_pair = 2 * shape.num_layers * shape.num_heads * shape.head_size / (flops * _ATTENTION_SHARE)
    per_kv = shape.kv_bytes_per_token() / bandwidth
    return StepModel(
        fixed_s=_FIXED_S,
        dense=Curve(tuple(map(float, _KNOTS)), tuple(times)),
        chunk=Curve((0.0, *map(float, _KNOTS)), (0.0, *(per_pair * tokens * tokens for tokens in _KNOTS))),
        context=line(2 * per_pair, per_kv),
        decode_kv=Curve((0.0,), (per_kv,)),
    )


def kv_tokens(shape: Shape, memory_bytes: float, dtype: str, tp: int = 1) -> int:
    """Tokens that fit beside the weights in 90 % of the memory of `tp` devices, 5 % left to activations; 0 = none."""
    weights = shape.params * _DTYPE_BYTES[dtype]
    room = tp * memory_bytes * (_MEMORY_SHARE - 0.05) - weights
    return max(0, int(room / shape.kv_bytes_per_token()))


def guess(name: str) -> tuple[StepModel, int, str, str, str, str] | None:
    """(model, KV tokens, accelerator, model name, dtype, source) for `<accelerator>-<model>[-<dtype>]`.

    None when the name holds no known accelerator and model, or the weights do not fit.
    """
    lower = name.lower()
    for model, shape in SHAPES.items():
        before, found, after = lower.partition("-" + model)
        dtype = after.removeprefix("-") or "bf16"
        if not found or dtype not in _DTYPE_BYTES:
            continue
        try:
            device = chip(before.upper())
            step = step_model(shape, device, dtype)
        except (NotFoundError, ValueError):
            return None
        room = kv_tokens(shape, device.memory_mib * _MIB, dtype)
        return (step, room, device.name, model, dtype, device.source) if room else None
    return None


def _woken_params(shape: Shape, tokens: int) -> float:
    """Parameters an iteration reads: all of a dense model; of a mixture the experts its tokens wake, on average."""
    if not shape.num_experts:
        return shape.params
    share = 1 - (1 - shape.experts_per_token / shape.num_experts) ** tokens
    shared = max(0.0, shape.active_params - shape.params * shape.experts_per_token / shape.num_experts)
    return shared + share * (shape.params - shared)
