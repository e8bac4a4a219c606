"""The Clos behind every family: servers, ToRs in segments, Aggs in pods, Cores above; built as whole arrays.

A family differs from another in three choices: how many ToRs share a segment (one per rail or one for all, times the
ports of a card), which Aggs a ToR may reach (all of its pod, those of its plane, those of its plane and rail), and the
counts. Wiring is arithmetic on node numbers, so 122,880 GPUs cost no more Python than 16.

Port order: a GPU's scale-up link, then its card; a card's host side, then port 0, 1; a switch's down ports by server,
then its up ports by Agg (Core).
"""

from typing import Any, Literal

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import GBIT, NOWHERE, Builder, Fabric, Ints, Kind, LinkKind, Traits
from roadbed.fabric.constants import NIC_LATENCY_S, PCIE_GEN5_X16_BYTES_S, SCALE_UP_LATENCY_S
from roadbed.hardware.chips import chip as find_chip

Reach = Literal["pod", "plane", "rail"]
MAX_CABLES = 1 << 22


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """All that a Clos is made of. num_segments counts the whole network; the last pod may be partly filled."""

    name: str
    parameters: dict[str, Any]
    chip: str
    num_servers: int
    gpus_per_server: int
    nics_per_server: int
    nic_segment: Ints
    """[servers × cards] Segment of each card; cards are numbered server by server."""
    num_segments: int
    segments_per_pod: int
    rails: int
    """ToR groups of a segment: the cards' rails, or 1 where all cards share the ToRs."""
    tors_per_group: int
    """2 = dual ToR."""
    nic_ports: int
    port_gbps: float
    reach: Reach
    """Which Aggs of its pod a ToR is cabled to: all, its plane's, or its plane's and rail's."""
    aggs_per_group: int
    """A group is what `reach` names."""
    agg_cables: int
    """Parallel cables between a ToR and each Agg it reaches."""
    uplink_gbps: float
    agg_uplinks: int
    """Cables of one Agg to Cores; 0 = no Cores."""
    cores_per_group: int
    """Cores are in as many groups as there are groups of Aggs in a pod: planes stay apart."""
    rail_optimised: bool
    core_by_port: bool = False

    @property
    def num_pods(self) -> int:
        return -(-self.num_segments // self.segments_per_pod)

    @property
    def num_groups(self) -> int:
        """Groups of Aggs in a pod."""
        return {"pod": 1, "plane": self.tors_per_group, "rail": self.tors_per_group * self.rails}[self.reach]


def build(shape: Shape) -> Fabric:
    """The fabric of a shape. UsageError where its counts are too large to build."""
    _check(shape)
    builder = Builder()
    gpu_nic, gpu_scale_up, nics = _servers(builder, shape)
    tors, aggs, cores = _switches(builder, shape)
    _access(builder, shape, nics, tors)
    _uplinks(builder, shape, tors, aggs)
    _core_links(builder, shape, aggs, cores)
    return builder.freeze(
        name=shape.name,
        parameters=shape.parameters,
        traits=Traits(
            dual_tor=shape.tors_per_group > 1,
            dual_plane=shape.tors_per_group > 1 and shape.reach != "pod",
            rail_optimised=shape.rail_optimised,
            rail_only=shape.reach == "rail",
            scale_up_routes=bool(shape.gpus_per_server > 1),
            core_by_port=shape.core_by_port,
        ),
        chip=shape.chip,
        gpus_per_server=shape.gpus_per_server,
        gpu_nic=gpu_nic,
        gpu_scale_up=gpu_scale_up,
    )


def _check(shape: Shape) -> None:
    if shape.gpus_per_server % shape.nics_per_server:
        raise UsageError(
            f"{shape.gpus_per_server} GPUs of a server can't share {shape.nics_per_server} cards evenly",
            hint="set nics_per_server to a divisor of gpus_per_server",
            field="nics_per_server",
        )
    tors = shape.num_segments * shape.rails * shape.tors_per_group
    up = tors * shape.aggs_per_group * shape.agg_cables
    core = shape.num_pods * shape.num_groups * shape.aggs_per_group * shape.agg_uplinks
    if up + core > MAX_CABLES:
        raise UsageError(
            f"{up + core:,} cables between switches; at most {MAX_CABLES:,} can be built", field="segments"
        )


def _servers(builder: Builder, shape: Shape) -> tuple[Ints, Ints, Ints]:
    """GPUs, scale-up switches and cards with their cables: (card of each GPU, its scale-up switch, all cards)."""
    servers, per, cards = shape.num_servers, shape.gpus_per_server, shape.nics_per_server
    share = per // cards
    gpu = np.arange(servers * per)
    card_of_gpu = gpu // share
    segment = shape.nic_segment
    pod = segment // shape.segments_per_pod
    gpus = builder.add_nodes(
        Kind.GPU,
        servers * per,
        server=gpu // per,
        rail=card_of_gpu % cards,
        segment=segment[card_of_gpu],
        pod=pod[card_of_gpu],
    )
    if per > 1:
        first = np.arange(servers) * cards
        hubs = builder.add_nodes(
            Kind.SCALE_UP, servers, server=np.arange(servers), segment=segment[first], pod=pod[first]
        )
        gpu_scale_up = hubs[gpu // per]
    else:
        gpu_scale_up = np.full(servers, NOWHERE, np.int32)
    card = np.arange(servers * cards)
    nics = builder.add_nodes(Kind.NIC, len(card), server=card // cards, rail=card % cards, segment=segment, pod=pod)
    if per > 1:
        scale_up = find_chip(shape.chip).link_bandwidth_bytes_s / 2
        builder.join(gpus, gpu_scale_up, LinkKind.SCALE_UP, scale_up, SCALE_UP_LATENCY_S)
    # the card's own forwarding is in the latency of its network links
    builder.join(gpus, nics[card_of_gpu], LinkKind.PCIE, PCIE_GEN5_X16_BYTES_S, 0.0)
    return nics[card_of_gpu], gpu_scale_up, nics


def _switches(builder: Builder, shape: Shape) -> tuple[Ints, Ints, Ints]:
    tor = np.arange(shape.num_segments * shape.rails * shape.tors_per_group)
    group = tor // shape.tors_per_group
    segment = group // shape.rails
    tors = builder.add_nodes(
        Kind.TOR,
        len(tor),
        rail=group % shape.rails if shape.rail_optimised else NOWHERE,
        segment=segment,
        pod=segment // shape.segments_per_pod,
        plane=tor % shape.tors_per_group if shape.tors_per_group > 1 else NOWHERE,
    )
    agg = np.arange(shape.num_pods * shape.num_groups * shape.aggs_per_group)
    agg_group = (agg // shape.aggs_per_group % shape.num_groups).astype(np.int32)
    aggs = builder.add_nodes(
        Kind.AGG,
        len(agg),
        pod=agg // (shape.aggs_per_group * shape.num_groups),
        rail=_rail_of(shape, agg_group),
        plane=_plane_of(shape, agg_group),
    )
    num_cores = shape.num_groups * shape.cores_per_group if shape.agg_uplinks else 0
    core_group = np.arange(num_cores, dtype=np.int32) // max(1, shape.cores_per_group)
    cores = builder.add_nodes(
        Kind.CORE, num_cores, rail=_rail_of(shape, core_group), plane=_plane_of(shape, core_group)
    )
    return tors, aggs, cores


def _plane_of(shape: Shape, group: Ints) -> Ints | int:
    return group % shape.tors_per_group if shape.reach != "pod" and shape.tors_per_group > 1 else NOWHERE


def _rail_of(shape: Shape, group: Ints) -> Ints | int:
    return group // shape.tors_per_group if shape.reach == "rail" else NOWHERE


def _access(builder: Builder, shape: Shape, nics: Ints, tors: Ints) -> None:
    """Port p of a card goes to ToR p mod (ToRs of its group)."""
    card = np.repeat(np.arange(len(nics)), shape.nic_ports)
    port = np.tile(np.arange(shape.nic_ports), len(nics))
    rail = card % shape.nics_per_server if shape.rails > 1 else 0
    group = shape.nic_segment[card] * shape.rails + rail
    tor = group * shape.tors_per_group + port % shape.tors_per_group
    builder.join(nics[card], tors[tor], LinkKind.ACCESS, shape.port_gbps * GBIT, NIC_LATENCY_S)


def _uplinks(builder: Builder, shape: Shape, tors: Ints, aggs: Ints) -> None:
    """Every ToR to every Agg it reaches."""
    per_tor = shape.aggs_per_group * shape.agg_cables
    tor = np.repeat(np.arange(len(tors)), per_tor)
    agg = np.tile(np.repeat(np.arange(shape.aggs_per_group), shape.agg_cables), len(tors))
    segment = tor // (shape.rails * shape.tors_per_group)
    group = {
        "pod": np.zeros_like(tor),
        "plane": tor % shape.tors_per_group,
        "rail": tor % (shape.rails * shape.tors_per_group),
    }[shape.reach]
    pod = segment // shape.segments_per_pod
    at = (pod * shape.num_groups + group) * shape.aggs_per_group + agg
    builder.join(tors[tor], aggs[at], LinkKind.FABRIC, shape.uplink_gbps * GBIT, NIC_LATENCY_S)


def _core_links(builder: Builder, shape: Shape, aggs: Ints, cores: Ints) -> None:
    """Agg a's cables go to the Cores from a × cables on, round the Cores of its group: every Core gets equally many."""
    if not len(cores):
        return
    agg = np.repeat(np.arange(len(aggs)), shape.agg_uplinks)
    cable = np.tile(np.arange(shape.agg_uplinks), len(aggs))
    group = agg // shape.aggs_per_group % shape.num_groups
    core = (agg % shape.aggs_per_group * shape.agg_uplinks + cable) % shape.cores_per_group
    at = group * shape.cores_per_group + core
    builder.join(aggs[agg], cores[at], LinkKind.CORE, shape.uplink_gbps * GBIT, NIC_LATENCY_S)
