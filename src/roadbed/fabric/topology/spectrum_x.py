"""Spectrum-X: eight rails, one ToR each, and a spine that joins them all at 1:1.

A card's 400G go to one ToR; a ToR has 64 cards and one cable to each of 64 spines. 64 ToRs make 4,096 GPUs. The real
product sprays packets, which is a choice of path selection, not of topology. Source of the counts: SimAI's template.
"""

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import clos
from roadbed.fabric.topology.sizing import Count, Gbps, Maybe, fit


class SpectrumX(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of a Spectrum-X network."""

    gpus: Maybe = 0
    """0 = as many as the counts hold."""
    chip: str = "H100"
    gpus_per_server: Count = 8
    nics_per_server: Count = 8
    servers_per_segment: Count = 64
    segments: Maybe = 0
    """0 = as many as are needed, at most 8."""
    spines: Count = 64
    spine_cables: Count = 1
    """Cables between a ToR and each spine."""
    nic_port_gbps: Gbps = 400.0
    uplink_gbps: Gbps = 400.0


FULL_SEGMENTS = 8


def build(counts: SpectrumX) -> Fabric:
    """The network of these counts: one pod, no Cores. UsageError where they contradict each other."""
    size = fit(
        gpus=counts.gpus,
        gpus_per_server=counts.gpus_per_server,
        servers_per_segment=counts.servers_per_segment,
        segments=counts.segments,
        pods=1 if counts.segments or not counts.gpus else 0,
        full_segments=FULL_SEGMENTS,
        full_pods=1,
    )
    return clos.build(
        clos.Shape(
            name="spectrum_x",
            parameters=msgspec.to_builtins(counts),
            chip=counts.chip,
            num_servers=size.num_servers,
            gpus_per_server=counts.gpus_per_server,
            nics_per_server=counts.nics_per_server,
            nic_segment=np.repeat(size.server_segment, counts.nics_per_server),
            num_segments=size.num_segments,
            segments_per_pod=size.num_segments,
            rails=counts.nics_per_server,
            tors_per_group=1,
            nic_ports=1,
            port_gbps=counts.nic_port_gbps,
            reach="pod",
            aggs_per_group=counts.spines,
            agg_cables=counts.spine_cables,
            uplink_gbps=counts.uplink_gbps,
            agg_uplinks=0,
            cores_per_group=1,
            rail_optimised=True,
        )
    )
