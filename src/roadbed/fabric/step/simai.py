"""SimAI's workload text: read, written, and run as it is.

    HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 2 ep: 16 pp: 12 vpp: 8 ga: 24 all_gpus: 9216 … pp_comm N
    <number of lines>
    name  dep  fwd_ns fwd_comm fwd_bytes  ig_ns ig_comm ig_bytes  wg_ns wg_comm wg_bytes  update_ns

A line is a layer: forward pass, input gradient, weight gradient. A communication's suffix names its group: none is the
tensor group in the first two columns and the data group in the third, `_EP` the experts', `_DP_EP` their copies'.
"""

import re
from typing import Literal, cast

import msgspec

from roadbed.errors import SpecError
from roadbed.fabric.collective.base import Op
from roadbed.fabric.step.plan import Dimension

MAX_LINES = 1_000_000
MAX_TEXT = 200_000_000
MAX_NS = 10**15
MAX_BYTES = 1 << 50
KIND = "HYBRID_TRANSFORMER_FWD_IN_BCKWD"
_OPS: dict[str, Op] = {
    "ALLREDUCE": "allreduce",
    "ALLGATHER": "allgather",
    "REDUCESCATTER": "reducescatter",
    "ALLTOALL": "alltoall",
}
_SUFFIXES: dict[str, Dimension] = {"_DP_EP": "expert_dp", "_EP": "ep"}
_FIELDS = (
    "name", "dep", "fwd_compute_ns", "fwd_comm", "fwd_bytes", "ig_compute_ns", "ig_comm", "ig_bytes",
    "wg_compute_ns", "wg_comm", "wg_bytes", "update_ns",
)  # fmt: skip
_HEADER = ("model_parallel_NPU_group", "ep", "pp", "vpp", "ga", "all_gpus")
Phase = Literal["fwd", "ig", "wg"]


class Message(msgspec.Struct, frozen=True):
    """What one phase of a layer sends; op None: nothing."""

    op: Op | None
    dimension: Dimension
    size: int


class Layer(msgspec.Struct, frozen=True):
    """One line."""

    name: str
    dep: int
    compute_ns: tuple[int, int, int]
    messages: tuple[Message, Message, Message]
    update_ns: int


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A file."""

    tp: int
    ep: int
    pp: int
    vpp: int
    ga: int
    """Micro-batches of one step (gradient accumulation)."""
    all_gpus: int
    pp_comm: int = 0
    """Bytes handed to the next stage per micro-batch."""
    checkpoints: int = 0
    checkpoint_initiates: int = 0
    layers: tuple[Layer, ...]

    @property
    def dp(self) -> int:
        return self.all_gpus // (self.tp * self.pp)


def parse_workload(text: str, source: str) -> Workload:
    """The workload of a file. SpecError `source:line: field: what is wrong`."""
    if len(text) > MAX_TEXT:
        raise SpecError(f"{source}: {len(text):,} characters; at most {MAX_TEXT:,}", field="workload")
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) < 2:
        raise SpecError(f"{source}:1: a header and the number of lines come first", field="header")
    header = _header(lines[0][1], f"{source}:{lines[0][0]}")
    number, words = lines[1]
    if len(words) != 1 or not words[0].isdecimal() or not 0 < len(words[0]) <= 9:
        raise SpecError(f"{source}:{number}: the second line is the number of layers", field="count")
    rows = lines[2:]
    if len(rows) > MAX_LINES:
        raise SpecError(f"{source}: {len(rows):,} layers; at most {MAX_LINES:,}", field="count")
    if int(words[0]) != len(rows):
        raise SpecError(f"{source}:{number}: it says {int(words[0])} layers, {len(rows)} follow", field="count")
    layers = tuple(_layer(words, f"{source}:{number}") for number, words in rows)
    return Workload(layers=layers, **header)


def _header(words: list[str], where: str) -> dict[str, int]:
    if words[0] != KIND:
        raise SpecError(f"{where}: parallelism is {words[0]!r}; only {KIND} is understood", field="parallelism")
    pairs = dict(re.findall(r"([A-Za-z_]+):?\s+(\d{1,18})(?=\s|$)", " ".join(words[1:])))
    missing = [name for name in _HEADER if name not in pairs]
    if missing:
        raise SpecError(f"{where}: {missing[0]}: is missing (a whole number is needed)", field=missing[0])
    found = {name: int(pairs[name]) for name in _HEADER}
    for name, value in found.items():
        if not 1 <= value <= 10_000_000:
            raise SpecError(f"{where}: {name}: {value} is not in 1 … 10,000,000", field=name)
    tp, pp, ep, total = found["model_parallel_NPU_group"], found["pp"], found["ep"], found["all_gpus"]
    if total % (tp * pp):
        raise SpecError(f"{where}: all_gpus: {total} does not divide by tp × pp = {tp * pp}", field="all_gpus")
    if (total // (tp * pp)) % ep and (total // pp) % ep:
        raise SpecError(f"{where}: ep: {ep} does not divide the {total // pp} GPUs of a stage", field="ep")
    extra = {name: int(pairs.get(name, 0)) for name in ("pp_comm", "checkpoints", "checkpoint_initiates")}
    return {"tp": tp, "ep": ep, "pp": pp, "vpp": found["vpp"], "ga": found["ga"], "all_gpus": total, **extra}


def _layer(words: list[str], where: str) -> Layer:
    if len(words) != len(_FIELDS):
        raise SpecError(f"{where}: {len(words)} columns, {len(_FIELDS)} are needed ({' '.join(_FIELDS)})", field="line")
    row = dict(zip(_FIELDS, words, strict=True))
    compute = tuple(_number(row, f"{phase}_compute_ns", where, MAX_NS) for phase in ("fwd", "ig", "wg"))
    messages = tuple(_message(row, phase, where) for phase in ("fwd", "ig", "wg"))
    dep = row["dep"]
    if not re.fullmatch(r"-?\d{1,9}", dep):
        raise SpecError(f"{where}: dep: {dep!r} is not a whole number", field="dep")
    return Layer(
        row["name"],
        int(dep),
        cast(tuple[int, int, int], compute),
        cast(tuple[Message, Message, Message], messages),
        _number(row, "update_ns", where, MAX_NS),
    )


def _number(row: dict[str, str], name: str, where: str, most: int) -> int:
    text = row[name]
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise SpecError(f"{where}: {name}: {text[:40]!r} is not a whole number of 0 or more", field=name)
    if int(text) > most:
        raise SpecError(f"{where}: {name}: {text} is more than {most}", field=name)
    return int(text)


def _message(row: dict[str, str], phase: str, where: str) -> Message:
    text = row[f"{phase}_comm"].upper()
    size = _number(row, f"{phase}_bytes", where, MAX_BYTES)
    dimension: Dimension = "dp" if phase == "wg" else "tp"
    if text == "NONE":
        return Message(None, dimension, size)
    for suffix, group in _SUFFIXES.items():
        if text.endswith(suffix):
            text, dimension = text.removesuffix(suffix), group
            break
    op = _OPS.get(text)
    if op is None:
        known = ", ".join(_OPS)
        raise SpecError(
            f"{where}: {phase}_comm: {row[f'{phase}_comm'][:40]!r} is not NONE or one of {known} (with _EP or _DP_EP)",
            field=f"{phase}_comm",
        )
    return Message(op, dimension, size)


def render_workload(workload: Workload) -> str:
    """The text SimAI reads; parsing it gives the same workload."""
    header = (
        f"{KIND} model_parallel_NPU_group: {workload.tp} ep: {workload.ep} pp: {workload.pp} vpp: {workload.vpp} "
        f"ga: {workload.ga} all_gpus: {workload.all_gpus} checkpoints: {workload.checkpoints} "
        f"checkpoint_initiates: {workload.checkpoint_initiates} pp_comm: {workload.pp_comm}"
    )
    rows = [header, str(len(workload.layers))]
    for layer in workload.layers:
        phases = []
        for at, nanoseconds in enumerate(layer.compute_ns):
            message = layer.messages[at]
            phases.append(f"{nanoseconds}\t{_render_comm(message, at)}\t{message.size}")
        rows.append("\t".join([layer.name, str(layer.dep), *phases, str(layer.update_ns)]))
    return "\n".join(rows) + "\n"


def _render_comm(message: Message, phase: int) -> str:
    if message.op is None:
        return "NONE"
    suffix = next((text for text, group in _SUFFIXES.items() if group == message.dimension), "")
    return message.op.upper() + suffix
