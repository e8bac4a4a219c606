"""HPN 7.0: eight rails, each card on two ToRs, the two ToRs in two planes that never meet below the server.

A segment is 1,024 GPUs (and 64 in reserve) behind 16 ToRs: GPU i of every server is one hop from every other GPU i. A
plane's 60 Aggs join the plane's ToRs of 15 segments, so once the port and the ToR's uplink are chosen the path is
known. Above, 15:1: only pipeline traffic should cross pods. Source: SIGCOMM'24, DOI 10.1145/3651890.3672265; Cores per
plane are read off its figure.

With `planes=1` both ToRs of a card share one set of Aggs. An Agg's ports then hold half as many segments: 7.
"""

from typing import Literal

import msgspec
import numpy as np

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import clos
from roadbed.fabric.topology.sizing import Count, Gbps, Maybe, fit


class Hpn7(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of an HPN 7.0 network."""

    gpus: Maybe = 0
    """0 = as many as the counts hold."""
    chip: str = "H800"
    gpus_per_server: Count = 8
    nics_per_server: Count = 8
    active_servers: Count = 128
    """Of a segment."""
    backup_servers: Maybe = 8
    """Of a segment: each ToR keeps a port for them."""
    with_backup: bool = False
    """Build the backup servers too; their GPUs come after all active ones."""
    segments: Maybe = 0
    """Of a pod. 0 = as many as are needed, at most what an Agg has ports for (15; 7 with one plane)."""
    pods: Maybe = 0
    planes: Literal[1, 2] = 2
    aggs_per_plane: Count = 60
    agg_cables: Count = 1
    """Cables between a ToR and each of its Aggs."""
    agg_down_ports: Count = 120
    agg_uplinks: Maybe = 8
    """Cables from an Agg to the Cores; built where there is more than one pod, or with_core."""
    cores_per_plane: Count = 32
    with_core: bool = False
    """Build Cores even for one pod."""
    nic_port_gbps: Gbps = 200.0
    uplink_gbps: Gbps = 400.0


def build(counts: Hpn7, name: str = "hpn7") -> Fabric:
    """The network of these counts. UsageError where they contradict each other."""
    ports_per_segment = counts.nics_per_server * 2 // counts.planes * counts.agg_cables
    size = fit(
        gpus=counts.gpus,
        gpus_per_server=counts.gpus_per_server,
        servers_per_segment=counts.active_servers,
        backup_servers=counts.backup_servers if counts.with_backup else 0,
        segments=counts.segments,
        pods=counts.pods,
        full_segments=max(1, counts.agg_down_ports // ports_per_segment),
        full_pods=1,
    )
    cored = counts.with_core or size.num_segments > size.segments_per_pod
    return clos.build(
        clos.Shape(
            name=name,
            parameters=msgspec.to_builtins(counts),
            chip=counts.chip,
            num_servers=size.num_servers,
            gpus_per_server=counts.gpus_per_server,
            nics_per_server=counts.nics_per_server,
            nic_segment=np.repeat(size.server_segment, counts.nics_per_server),
            num_segments=size.num_segments,
            segments_per_pod=size.segments_per_pod,
            rails=counts.nics_per_server,
            tors_per_group=2,
            nic_ports=2,
            port_gbps=counts.nic_port_gbps,
            reach="plane" if counts.planes == 2 else "pod",
            aggs_per_group=counts.aggs_per_plane,
            agg_cables=counts.agg_cables,
            uplink_gbps=counts.uplink_gbps,
            agg_uplinks=counts.agg_uplinks if cored else 0,
            cores_per_group=counts.cores_per_plane,
            rail_optimised=True,
            core_by_port=True,
        )
    )
