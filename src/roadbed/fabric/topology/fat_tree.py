"""The k-ary fat tree: one kind of switch with k ports, three tiers at 1:1, k³/4 cards.

k pods of k/2 ToRs and k/2 Aggs; a ToR has k/2 cards and one cable to each Agg of its pod; Agg a is cabled to the k/2
Cores from a·k/2 on. Cards fill ToRs in order, so where k/2 is no multiple of a server's cards a server's cards are
spread over neighbouring ToRs, as in any network without rails. Source: Al-Fares et al., SIGCOMM'08.
"""

from typing import Annotated

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import clos
from roadbed.fabric.topology.sizing import Count, Gbps, Maybe, check_num_gpus


class FatTree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of a fat tree."""

    k: Annotated[int, msgspec.Meta(ge=0, le=200)] = 0
    """Ports of every switch, even. 0 = the smallest that holds the GPUs; 16 where gpus is 0 too."""
    gpus: Maybe = 0
    """0 = as many as k holds in whole servers. All switches are built, whoever uses them."""
    chip: str = "H100"
    gpus_per_server: Count = 8
    nics_per_server: Count = 8
    gbps: Gbps = 400.0
    """Of every link."""


def build(counts: FatTree) -> Fabric:
    """The network of these counts. UsageError where they contradict each other."""
    servers = -(-counts.gpus // counts.gpus_per_server)
    k = counts.k or _smallest(servers * counts.nics_per_server)
    if k % 2 or k < 2:
        raise UsageError(f"a fat tree of k={k} can't be built: k is even", hint="--set k=16", field="k")
    half = k // 2
    room = k * half * half // counts.nics_per_server
    servers = servers or room
    if not servers or servers > room:
        raise UsageError(
            f"a fat tree of k={k} holds {room} servers of {counts.nics_per_server} cards, not {max(1, servers):,}",
            hint="leave out k",
            field="gpus",
        )
    check_num_gpus(servers * counts.gpus_per_server)
    card = np.arange(servers * counts.nics_per_server, dtype=np.int32)
    return clos.build(
        clos.Shape(
            name="fat_tree",
            parameters=msgspec.to_builtins(counts),
            chip=counts.chip,
            num_servers=servers,
            gpus_per_server=counts.gpus_per_server,
            nics_per_server=counts.nics_per_server,
            nic_segment=card // half,
            num_segments=k * half,
            segments_per_pod=half,
            rails=1,
            tors_per_group=1,
            nic_ports=1,
            port_gbps=counts.gbps,
            reach="pod",
            aggs_per_group=half,
            agg_cables=1,
            uplink_gbps=counts.gbps,
            agg_uplinks=half,
            cores_per_group=half * half,
            rail_optimised=False,
        )
    )


def _smallest(cards: int) -> int:
    """The smallest even k with k³/4 ≥ cards."""
    if not cards:
        return 16
    k = 2
    while k**3 // 4 < cards:
        k += 2
    return k
