"""How a model is cut over GPUs, and which GPUs form which group.

Ranks are numbered with tensor parallelism innermost, then context, data, pipeline (Megatron's order tp-cp-dp-pp), so
tensor groups fall inside a server and pipeline stages far apart. Experts are spread over the data-parallel ranks: an
expert group is ep neighbours of a data group, and the copies of one expert reduce among dp/ep ranks.
"""

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Ints
from roadbed.fabric.step.model import Transformer


class Parallel(msgspec.Struct, frozen=True, kw_only=True):
    """Degrees of parallelism and the batch. dp follows from the number of GPUs."""

    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    micro_batch: int = 1
    """Samples of one micro-batch on one data-parallel rank."""
    global_batch: int = 0
    """Samples of one step; 0 = 4 micro-batches for each pipeline stage (at least 8)."""
    sequence_parallel: bool = True
    """Tensor groups gather and scatter activations instead of all-reducing them: the same bytes, less memory."""
    virtual: int = 1
    """Model chunks per pipeline stage (interleaved schedule)."""
    zero: int = 0
    """0: gradients are all-reduced. 1 and 2: reduce-scattered, and parameters gathered once a step. 3: parameters
    gathered for every pass."""
    recompute: bool = False
    """Activations are computed again in the backward pass."""


_USUAL = {
    "gpt3-13b": (2, 1, 1), "gpt3-22b": (4, 1, 1), "gpt3-175b": (8, 8, 1), "llama-13b": (2, 1, 1),
    "llama-65b": (8, 2, 1), "llama2-70b": (8, 2, 1), "llama3-405b": (8, 18, 1),
    "mixtral-8x7b": (2, 1, 8), "qwen2.5-14b": (2, 1, 1),
    "qwen2.5-32b": (8, 1, 1), "qwen2.5-72b": (8, 2, 1),
}  # fmt: skip
"""Model → tp, pp, ep. After SimAI's suite of workloads (AICB); Llama 3 405B with 18 stages, for its 126 layers."""


def usual_cut(model: str, **given: int | bool | None) -> Parallel:
    """How a model is usually cut, with what is given instead (None: not given)."""
    tp, pp, ep = _USUAL.get(model.casefold(), (1, 1, 1))
    chosen = {name: value for name, value in given.items() if value is not None}
    return msgspec.convert({"tp": tp, "pp": pp, "ep": ep, **chosen}, Parallel)


class Groups(msgspec.Struct, frozen=True):
    """GPU numbers by group; every GPU is in one row of each. Context ranks hold the same weights: dp has them too."""

    tp: Ints
    cp: Ints
    dp: Ints
    pp: Ints
    ep: Ints
    expert_dp: Ints


def data_parallel(parallel: Parallel, model: Transformer, num_gpus: int) -> int:
    """Data-parallel ranks; UsageError naming the degree that does not divide."""
    for name in ("tp", "pp", "cp", "ep", "micro_batch", "virtual"):
        if getattr(parallel, name) < 1:
            raise UsageError(f"{name} must be at least 1", field=name)
    if not 0 <= parallel.zero <= 3:
        raise UsageError(f"zero {parallel.zero}: stages are 0, 1, 2, 3", field="zero")
    fixed = parallel.tp * parallel.pp * parallel.cp
    if num_gpus % fixed:
        raise UsageError(f"{num_gpus} GPUs do not divide by tp × pp × cp = {fixed}", field="gpus")
    dp = num_gpus // fixed
    _divides("tp", parallel.tp, "heads", model.heads, model)
    _divides("pp × virtual", parallel.pp * parallel.virtual, "layers", model.layers, model)
    _divides("cp", parallel.cp, "seq", model.seq, model)
    if parallel.ep > 1:
        _divides("ep", parallel.ep, "experts", model.experts, model)
        if dp % parallel.ep:
            raise UsageError(f"ep {parallel.ep} does not divide the {dp} data-parallel ranks", field="ep")
    return dp


def _divides(name: str, degree: int, what: str, count: int, model: Transformer) -> None:
    if count % degree:
        raise UsageError(f"{name} {degree} does not divide the {count} {what} of {model.name}", field=name.split()[0])


def num_micro_batches(parallel: Parallel, dp: int) -> int:
    """Micro-batches of one step on one pipeline; UsageError when the batch does not come out even."""
    if not parallel.global_batch:
        return max(4 * parallel.pp, 8)
    per = dp * parallel.micro_batch
    if parallel.global_batch < 1 or parallel.global_batch % per:
        raise UsageError(
            f"global batch {parallel.global_batch} does not divide by dp × micro batch = {dp} × {parallel.micro_batch}",
            field="global_batch",
        )
    return parallel.global_batch // per


def groups_of(parallel: Parallel, gpus: Ints, dp: int) -> Groups:
    """Groups over GPUs in rank order. gpus: [pp · dp · cp · tp]."""
    grid = gpus.reshape(parallel.pp, dp, parallel.cp, parallel.tp)
    by_ep = grid.reshape(parallel.pp, dp // parallel.ep, parallel.ep, parallel.cp, parallel.tp)
    return Groups(
        tp=grid.reshape(-1, parallel.tp),
        cp=_last(grid, 2),
        dp=_last(grid.reshape(parallel.pp, dp * parallel.cp, parallel.tp), 1),
        pp=_last(grid, 0),
        ep=_last(by_ep, 2),
        expert_dp=_last(by_ep, 1),
    )


def _last(grid: Ints, axis: int) -> Ints:
    """Rows along one axis."""
    moved: Ints = np.moveaxis(grid, axis, -1)
    return moved.reshape(-1, grid.shape[axis])
