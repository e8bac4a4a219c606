"""What a cut model sends in one step, group by group.

Bytes are those of two-byte activations and gradients. Sources: Narayanan et al. 2021 (tensor and pipeline), Korthikanti
et al. 2022 (sequence parallel), Rajbhandari et al. 2020 (ZeRO). HPN's table 3 (GPT-3 175B, TP 8, PP 8: 5.5 GB over
data, 6 MB over pipeline) comes out of these lines and is a test.
"""

from typing import Literal

import msgspec

from roadbed.fabric.collective.base import Op
from roadbed.fabric.step.model import Transformer
from roadbed.fabric.step.parallel import Parallel

Dimension = Literal["tp", "cp", "dp", "pp", "ep", "expert_dp"]
BYTES = 2


class Comm(msgspec.Struct, frozen=True):
    """One kind of message of a pipeline stage."""

    dimension: Dimension
    op: Op
    size: float
    """Bytes, as the operation counts them."""
    forward: float = 0.0
    """How often in the forward pass of a micro-batch over one stage."""
    backward: float = 0.0
    per_step: float = 0.0
    """How often once a step, beside the micro-batches."""
    overlap: float = 0.0
    """Share of a micro-batch's matching compute it may hide behind; per_step: of the last backward pass."""


def communication(model: Transformer, parallel: Parallel, dp: int) -> list[Comm]:
    """All messages of one stage. Dimensions of degree 1 send nothing."""
    layers = model.layers // parallel.pp
    tokens = parallel.micro_batch * model.seq // parallel.cp
    activation = float(tokens * model.hidden * BYTES)
    out: list[Comm] = []
    if parallel.tp > 1:
        out += _tensor(activation, layers, parallel)
    if parallel.cp > 1:
        keys = 2.0 * tokens * parallel.cp * model.hidden * model.kv_heads / model.heads * BYTES / parallel.tp
        out.append(Comm("cp", "allgather", keys, forward=layers, backward=layers, overlap=1.0))
        out.append(Comm("cp", "reducescatter", keys, backward=layers, overlap=1.0))
    if parallel.ep > 1 and model.experts > 1:
        routed = activation * model.top_k / (parallel.tp if parallel.sequence_parallel else 1)
        out.append(Comm("ep", "alltoall", routed, forward=2 * layers, backward=2 * layers))
    if parallel.pp > 1:
        shared = parallel.tp if parallel.sequence_parallel else 1
        out.append(Comm("pp", "sendrecv", activation / shared, forward=parallel.virtual, backward=parallel.virtual))
    return out + _data(model, parallel, dp, layers)


def _tensor(activation: float, layers: int, parallel: Parallel) -> list[Comm]:
    if not parallel.sequence_parallel:
        return [Comm("tp", "allreduce", activation, forward=2 * layers, backward=2 * layers)]
    return [
        Comm("tp", "allgather", activation, forward=2 * layers, backward=2 * layers),
        Comm("tp", "reducescatter", activation, forward=2 * layers, backward=2 * layers),
    ]


def _data(model: Transformer, parallel: Parallel, dp: int, layers: int) -> list[Comm]:
    """Gradients (and with ZeRO parameters) of one stage's share, experts apart where they have copies of their own."""
    embedding = model.embedding_params / (1 if parallel.pp == 1 or model.tied else 2)
    split = parallel.ep > 1 and model.experts > 1
    shared = (layers * model.attention_params + embedding) / parallel.tp
    ffn = layers * model.experts * model.ffn_params / parallel.tp
    ranks = dp * parallel.cp
    out = []
    if ranks > 1:
        out += _reduction("dp", (shared + (0.0 if split else ffn)) * BYTES, parallel)
    if split and dp // parallel.ep > 1:
        out += _reduction("expert_dp", ffn / parallel.ep * BYTES, parallel)
    return out


def _reduction(dimension: Dimension, size: float, parallel: Parallel) -> list[Comm]:
    if parallel.zero == 0:
        return [Comm(dimension, "allreduce", size, per_step=1, overlap=1.0)]
    if parallel.zero < 3:
        return [
            Comm(dimension, "reducescatter", size, per_step=1, overlap=1.0),
            Comm(dimension, "allgather", size, per_step=1, overlap=0.0),
        ]
    return [
        Comm(dimension, "allgather", size, forward=1, backward=1, overlap=1.0),
        Comm(dimension, "reducescatter", size, per_step=1, overlap=1.0),
    ]
