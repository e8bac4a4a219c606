"""A network in figures: what it is made of, what it can carry, what it costs. For comparing designs.

Bisection is what crosses the middle if half of the segments (pods) send to the other half: half of what leaves the
tier below, or less if a lower tier is the limit; per direction. Length of cables follows from the size of a segment:
racks of RACK_SERVERS in rows; what fits in one building (BUILDING_SERVERS) is within 100 m of its Aggs and Cores. These
are assumptions; they choose the medium, not the wiring.

A switch is priced by the smallest chip that carries its ports in use, so a design should be compared at its own size.
"""

from typing import Literal

import msgspec
import numpy as np

from roadbed.fabric.base import GBIT, Fabric, Kind, LinkKind
from roadbed.fabric.blueprint import CHIP_GBPS, oversubscription
from roadbed.fabric.diversity import Diversity, diversity
from roadbed.fabric.graph import components
from roadbed.fabric.prices import DEFAULTS, SWITCHES, Price

RACK_SERVERS = 4
"""10 kW servers in 40 kW racks."""
RACK_PITCH_M = 0.8
BUILDING_SERVERS = 1_920
"""HPN 7.0: 18 MW hold 15,360 GPUs in servers of 8, and all fibres are shorter than 100 m."""
Medium = Literal["copper", "aoc", "multimode", "single_mode"]
_BELOW = {Kind.TOR: LinkKind.ACCESS, Kind.AGG: LinkKind.FABRIC, Kind.CORE: LinkKind.CORE}
_ABOVE = {Kind.TOR: LinkKind.FABRIC, Kind.AGG: LinkKind.CORE}


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Switches of one tier. Ports and bandwidth are of all of them together, in use."""

    kind: str
    num: int
    ports_down: int
    ports_up: int
    gbps_down: float
    gbps_up: float
    oversubscription: float
    """Down ÷ up; 0 where nothing goes up."""
    load: float
    """Bandwidth in use of the fullest switch ÷ that of a 51.2T chip."""


class Cables(msgspec.Struct, frozen=True, kw_only=True):
    """Cables of one tier and speed."""

    link: str
    medium: Medium
    gbps: float
    num: int
    usd: float
    watts: float


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """A network in figures."""

    fabric: str
    num_gpus: int
    num_servers: int
    num_segments: int
    num_pods: int
    num_planes: int
    """Parts into which the switches fall when the servers are taken away."""
    gpus_per_segment: int
    """Reached through one ToR (and the scale-up switch)."""
    gpus_per_pod: int
    tiers: list[Tier]
    cables: list[Cables]
    bisection_segments_bytes_s: float
    bisection_pods_bytes_s: float
    paths: Diversity
    usd: float
    watts: float

    @property
    def num_switches(self) -> int:
        return sum(tier.num for tier in self.tiers)


def describe(fabric: Fabric, prices: dict[str, Price] | None = None) -> Design:
    """The figures of a fabric, at these prices (default: our estimates)."""
    table = DEFAULTS if prices is None else prices
    tiers = [_tier(fabric, kind) for kind in (Kind.TOR, Kind.AGG, Kind.CORE) if len(fabric.nodes(kind))]
    cables = _cables(fabric, table)
    switches = _switches(fabric, table)
    cards = len(fabric.nodes(Kind.NIC))
    gpus = slice(0, fabric.num_gpus)
    sizes = {name: np.bincount(getattr(fabric, name)[gpus]) for name in ("segment", "pod")}
    num = {name: int(getattr(fabric, name).max()) + 1 for name in sizes}
    across = _bisections(fabric, num["segment"], num["pod"])
    return Design(
        fabric=fabric.name,
        num_gpus=fabric.num_gpus,
        num_servers=fabric.num_servers,
        num_segments=num["segment"],
        num_pods=num["pod"],
        num_planes=_num_planes(fabric),
        gpus_per_segment=int(sizes["segment"].max()),
        gpus_per_pod=int(sizes["pod"].max()),
        tiers=tiers,
        cables=cables,
        bisection_segments_bytes_s=across[0],
        bisection_pods_bytes_s=across[1],
        paths=diversity(fabric),
        usd=switches[0] + sum(one.usd for one in cables) + cards * table["card"].usd,
        watts=switches[1] + sum(one.watts for one in cables) + cards * table["card"].watts,
    )


def _tier(fabric: Fabric, kind: Kind) -> Tier:
    mine = fabric.kind[fabric.src] == kind
    down = mine & (fabric.link_kind == _BELOW[kind])
    up = mine & (fabric.link_kind == _ABOVE[kind]) if kind in _ABOVE else np.zeros_like(mine)
    gbps = [float(fabric.capacity[some].sum()) / GBIT for some in (down, up)]
    load = np.bincount(fabric.src[mine], weights=fabric.capacity[mine], minlength=fabric.num_nodes).max()
    return Tier(
        kind=kind.name.lower(),
        num=len(fabric.nodes(kind)),
        ports_down=int(down.sum()),
        ports_up=int(up.sum()),
        gbps_down=gbps[0],
        gbps_up=gbps[1],
        oversubscription=oversubscription(fabric, kind),
        load=float(load) / GBIT / CHIP_GBPS,
    )


def _cables(fabric: Fabric, table: dict[str, Price]) -> list[Cables]:
    found = []
    once = np.arange(fabric.num_links) < np.where(fabric.reverse < 0, fabric.num_links, fabric.reverse)
    for kind in (LinkKind.ACCESS, LinkKind.FABRIC, LinkKind.CORE):
        speeds, nums = np.unique(fabric.capacity[once & (fabric.link_kind == kind)] / GBIT, return_counts=True)
        for gbps, num in zip(speeds.tolist(), nums.tolist(), strict=True):
            medium = _medium(fabric, kind)
            of_100g = num * gbps / 100
            found.append(
                Cables(
                    link=kind.name.lower(),
                    medium=medium,
                    gbps=gbps,
                    num=num,
                    usd=of_100g * table[medium].usd,
                    watts=of_100g * table[medium].watts,
                )
            )
    return found


def _medium(fabric: Fabric, kind: LinkKind) -> Medium:
    """The cheapest that is long enough."""
    if kind == LinkKind.ACCESS:
        servers = np.unique(np.stack([fabric.segment, fabric.server])[:, : fabric.num_gpus], axis=1)
        racks = -(-int(np.bincount(servers[0]).max()) // RACK_SERVERS)
        length_m = 2 + RACK_PITCH_M * racks / 2
        return "copper" if length_m <= 3 else "aoc" if length_m <= 30 else "multimode"
    joined = fabric.pod if kind == LinkKind.FABRIC else np.zeros_like(fabric.pod)
    servers = np.unique(np.stack([joined, fabric.server])[:, : fabric.num_gpus], axis=1)
    return "multimode" if int(np.bincount(servers[0]).max()) <= BUILDING_SERVERS else "single_mode"


def _switches(fabric: Fabric, table: dict[str, Price]) -> tuple[float, float]:
    """USD and watts: each switch as the smallest chip that carries it, or as several of the largest."""
    used = np.bincount(fabric.src, weights=fabric.capacity, minlength=fabric.num_nodes) / GBIT
    used = used[fabric.kind >= Kind.TOR]
    small, large = (gbps for _, gbps in SWITCHES)
    num_large = float(np.ceil(used[used > small * (1 + 1e-9)] / large - 1e-9).sum())
    num_small = int((used <= small * (1 + 1e-9)).sum())
    one, other = table[SWITCHES[0][0]], table[SWITCHES[1][0]]
    return num_small * one.usd + num_large * other.usd, num_small * one.watts + num_large * other.watts


def _bisections(fabric: Fabric, num_segments: int, num_pods: int) -> tuple[float, float]:
    """Between segments of a pod, between pods; bytes/s per direction."""
    leaving = [
        float(fabric.capacity[(fabric.link_kind == link) & (fabric.kind[fabric.src] == kind)].sum())
        for link, kind in ((LinkKind.ACCESS, Kind.NIC), (LinkKind.FABRIC, Kind.TOR), (LinkKind.CORE, Kind.AGG))
    ]
    segments = min(leaving[:2]) / 2 if num_segments > 1 else 0.0
    pods = min(leaving) / 2 if num_pods > 1 else 0.0
    return segments, pods


def _num_planes(fabric: Fabric) -> int:
    """Counted in the first pod, where no Core joins what Aggs keep apart."""
    up = fabric.link_kind >= LinkKind.FABRIC
    label = components(fabric.num_nodes, fabric.src[up], fabric.dst[up])
    switches = fabric.nodes(Kind.TOR)
    first = switches[fabric.pod[switches] == 0]
    return len(np.unique(label[first]))
