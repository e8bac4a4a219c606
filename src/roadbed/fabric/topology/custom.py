"""A network written by hand: so many servers and switches, and rules that cable them.

    fabric: custom
    name: two-rails
    chip: H100
    servers: {count: 4, gpus: 4, nics: 2}
    switches: {tor: 2, agg: 2}
    links:
      - {from: "nic-[0-7/2]", to: tor-0, gbps: 400}
      - {from: "nic-[1-7/2]", to: tor-1, gbps: 400}
      - {from: "tor-[0-1]", to: "agg-[0-1]", gbps: 400, cables: 2}

Cards are numbered server by server. A rule joins every left end to every right end, or with `pairing: each` the first
to the first, the second to the second. GPUs, their scale-up switch and their cards are cabled by themselves. Segments,
rails and planes are read off the cables (`assemble`).
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from roadbed.errors import NotFoundError, SpecError
from roadbed.fabric.base import GBIT, Fabric, Ints, Kind, LinkKind
from roadbed.fabric.constants import NIC_LATENCY_S, PCIE_GEN5_X16_BYTES_S, SCALE_UP_LATENCY_S
from roadbed.fabric.topology.assemble import Parts, assemble
from roadbed.fabric.topology.clos import MAX_CABLES
from roadbed.hardware.chips import chip as find_chip
from roadbed.spec.base import Name, Spec
from roadbed.spec.document import Document

MAX_NODES = 1 << 17
"""Of a kind."""
Num = Annotated[int, Field(ge=0, le=MAX_NODES)]
_ENDS = re.compile(r"(nic|tor|agg|core)-(?:(\d{1,6})|\[([0-9,/\-]{1,4000})\])")
_SPAN = re.compile(r"(\d{1,6})(?:-(\d{1,6})(?:/(\d{1,6}))?)?")
_TIERS = {
    ("nic", "tor"): LinkKind.ACCESS,
    ("tor", "agg"): LinkKind.FABRIC,
    ("agg", "core"): LinkKind.CORE,
}


class Servers(Spec):
    """The machines, all alike."""

    count: Annotated[int, Field(ge=1, le=MAX_NODES)]
    gpus: Annotated[int, Field(ge=1, le=64)] = 8
    """Of each server."""
    nics: Annotated[int, Field(ge=1, le=64)] = 8
    """Of each server; GPUs share them evenly."""
    scale_up_gbps: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Of a GPU, per direction; 0 = no scale-up switch; default: the chip's."""


class Switches(Spec):
    """How many of each tier."""

    tor: Num = 0
    agg: Num = 0
    core: Num = 0


class Link(Spec):
    """A rule: which are cabled to which."""

    from_: Annotated[str, Field(alias="from")]
    """Such as nic-0, nic-[0-7], nic-[0-63/8], tor-[0,2]; nic to tor, tor to agg or agg to core."""
    to: str
    gbps: Annotated[float, Field(gt=0, le=1e6)]
    """Of one cable, per direction."""
    latency_us: Annotated[float, Field(ge=0, le=1e6)] = NIC_LATENCY_S * 1e6
    cables: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parallel cables of each pair."""
    pairing: Literal["all", "each"] = "all"
    one_way: bool = False
    """A broken cable: traffic passes from `from` to `to` alone. For testing."""


class Custom(Spec):
    """A network."""

    fabric: Literal["custom"]
    name: Name = "custom"
    chip: str = "H100"
    servers: Servers
    switches: Switches = Switches()
    links: Annotated[list[Link], Field(max_length=100_000)] = []


def read(document: Document, source: str) -> Fabric:
    """The network of a document. Raises SpecError `source:line: field: what is wrong`, several at once."""
    try:
        spec = Custom.model_validate(document.value)
    except ValidationError as error:
        found = [(detail["loc"], detail["msg"].removeprefix("Value error, ")) for detail in error.errors()]
        raise _wrong(document, source, found) from error
    try:
        find_chip(spec.chip)
    except NotFoundError as error:
        raise _wrong(document, source, [(("chip",), error.message)]) from error
    return build(spec, document, source)


def build(spec: Custom, document: Document, source: str) -> Fabric:
    """The fabric of a checked spec; the document only places errors on their lines."""
    if spec.servers.gpus % spec.servers.nics:
        said = f"{spec.servers.gpus} GPUs can't share {spec.servers.nics} cards evenly"
        raise _wrong(document, source, [(("servers", "nics"), said)])
    num_servers, gpus, nics = spec.servers.count, spec.servers.gpus, spec.servers.nics
    if num_servers * gpus > MAX_NODES:
        said = f"{num_servers * gpus:,} GPUs; at most {MAX_NODES:,} can be written by hand"
        raise _wrong(document, source, [(("servers", "count"), said)])
    scale_up = find_chip(spec.chip).link_bandwidth_bytes_s / 2
    if spec.servers.scale_up_gbps is not None:
        scale_up = spec.servers.scale_up_gbps * GBIT
    hubs = num_servers if scale_up > 0 and gpus > 1 else 0
    counts = (num_servers * gpus, hubs, num_servers * nics, spec.switches.tor, spec.switches.agg, spec.switches.core)
    first = {kind: sum(counts[:kind]) for kind in Kind}
    gpu = np.arange(counts[0], dtype=np.int32)
    card = gpu // (gpus // nics)
    rows = [_Rows.of(gpu, first[Kind.NIC] + card, LinkKind.PCIE, PCIE_GEN5_X16_BYTES_S, 0.0)]
    if hubs:
        rows.insert(
            0, _Rows.of(gpu, first[Kind.SCALE_UP] + gpu // gpus, LinkKind.SCALE_UP, scale_up, SCALE_UP_LATENCY_S)
        )
    room = MAX_CABLES
    wrong: list[tuple[tuple[str | int, ...], str]] = []
    for at, link in enumerate(spec.links):
        try:
            made = _cables(link, counts, first, room)
        except _LinkError as error:
            wrong.append((("links", at, error.field), str(error)))
            continue
        room -= len(made.a)
        rows.append(made)
    if wrong:
        raise _wrong(document, source, wrong)
    return assemble(
        Parts(
            name=spec.name,
            parameters=spec.model_dump(mode="json", by_alias=True),
            chip=spec.chip,
            gpus_per_server=gpus,
            gpu_server=gpu // gpus,
            hub_server=np.arange(hubs, dtype=np.int32),
            card_server=np.arange(counts[2], dtype=np.int32) // nics,
            gpu_card=card,
            num_tors=counts[3],
            num_aggs=counts[4],
            num_cores=counts[5],
            a=np.concatenate([row.a for row in rows]),
            b=np.concatenate([row.b for row in rows]),
            kind=np.concatenate([np.full(len(row.a), row.kind, np.int8) for row in rows]),
            capacity=np.concatenate([np.full(len(row.a), row.capacity) for row in rows]),
            latency_s=np.concatenate([np.full(len(row.a), row.latency_s) for row in rows]),
            both_ways=np.concatenate([np.full(len(row.a), not row.one_way) for row in rows]),
        )
    )


class _LinkError(ValueError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class _Rows:
    """Cables of one rule."""

    def __init__(
        self, a: Ints, b: Ints, kind: LinkKind, capacity: float, latency_s: float, one_way: bool = False
    ) -> None:
        self.a, self.b, self.kind, self.capacity, self.latency_s, self.one_way = (
            a,
            b,
            kind,
            capacity,
            latency_s,
            one_way,
        )

    @classmethod
    def of(cls, a: Ints, b: Ints, kind: LinkKind, capacity: float, latency_s: float) -> "_Rows":
        return cls(a.astype(np.int32), b.astype(np.int32), kind, capacity, latency_s)


def _cables(link: Link, counts: tuple[int, ...], first: dict[Kind, int], room: int) -> _Rows:
    left_kind, left = _ends("from", link.from_, counts)
    right_kind, right = _ends("to", link.to, counts)
    kind = _TIERS.get((left_kind, right_kind))
    if kind is None:
        allowed = ", ".join(f"{low} to {high}" for low, high in _TIERS)
        raise _LinkError("to", f"{left_kind} to {right_kind} is no link of a network; links go {allowed}")
    if link.pairing == "each" and len(left) != len(right):
        raise _LinkError("pairing", f"{len(left)} left ends can't be paired one to one with {len(right)} right ends")
    num = len(left) * (1 if link.pairing == "each" else len(right)) * link.cables
    if num > room:
        raise _LinkError("cables", f"more than {MAX_CABLES:,} cables in all")
    a = left if link.pairing == "each" else np.repeat(left, len(right))
    b = right if link.pairing == "each" else np.tile(right, len(left))
    return _Rows(
        (first[Kind[left_kind.upper()]] + np.repeat(a, link.cables)).astype(np.int32),
        (first[Kind[right_kind.upper()]] + np.repeat(b, link.cables)).astype(np.int32),
        kind,
        link.gbps * GBIT,
        link.latency_us * 1e-6,
        link.one_way,
    )


def _ends(field: str, text: str, counts: tuple[int, ...]) -> tuple[str, Ints]:
    """`tor-[0-3,8]` → tor and the numbers."""
    match = _ENDS.fullmatch(text.strip())
    if match is None:
        raise _LinkError(field, f"{text!r} names no nodes; write nic-0, tor-[0-3], agg-[0,2] or nic-[0-63/8]")
    kind = match[1]
    num = counts[Kind[kind.upper()]]
    found = [np.array([int(match[2])])] if match[2] else list(_spans(field, text, match[3], num))
    ends = np.concatenate(found).astype(np.int32)
    if ends.max() >= num:
        raise _LinkError(field, f"{text!r}: there are {num} of kind {kind}, numbered from 0")
    return kind, ends


def _spans(field: str, text: str, spans: str, num: int) -> Iterator[Any]:
    for part in spans.split(","):
        match = _SPAN.fullmatch(part)
        if match is None:
            raise _LinkError(field, f"{text!r}: {part!r} is neither a number nor a range such as 0-7 or 0-63/8")
        low, high, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if high < low or step < 1:
            raise _LinkError(field, f"{text!r}: {part!r} is an empty range")
        if high >= num:
            raise _LinkError(field, f"{text!r}: there are {num} of that kind, numbered from 0")
        yield np.arange(low, high + 1, step)


def _wrong(document: Document, source: str, found: list[tuple[tuple[str | int, ...], str]]) -> SpecError:
    lines = [
        f"{source}:{document.line_of(loc)}: {'.'.join(str(part) for part in loc) or 'fabric'}: {message}"
        for loc, message in found
    ]
    field = ".".join(str(part) for part in found[0][0])
    return SpecError("\n".join(lines[:20]), hint="docs/how-to/fabric.md describes the format", field=field)
