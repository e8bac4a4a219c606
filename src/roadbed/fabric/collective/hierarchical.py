"""Scale-up first, then rails: every server reduces inside, equal places of all servers exchange, servers spread.

Three phases, each a ring of its own group, pipelined by chunks. Steps grow with servers + ranks of a server, not with
their product, so a large flat ring loses to it; it needs the same number of ranks on every server.
"""

import numpy as np

from roadbed.fabric import constants
from roadbed.fabric.base import Fabric
from roadbed.fabric.collective.base import Op, Ranks, Traffic
from roadbed.fabric.collective.rails import rails_of

HIERARCHICAL_OPS: tuple[Op, ...] = ("allreduce", "allgather", "reducescatter")


def can_hierarchical(ranks: Ranks) -> bool:
    """Equal places: more than one server, more than one rank on each, as many on all."""
    return ranks.num_servers > 1 and ranks.per_server > 1


def hierarchical(fabric: Fabric, op: Op, ranks: Ranks, channels: int = constants.CHANNELS_PER_NIC) -> Traffic:
    """Rings inside servers and rings along the rails."""
    rails = rails_of(fabric, ranks)
    num_servers, width = rails.shape
    ways = 2 if op == "allreduce" else 1
    inside = ranks.per_server
    ahead = np.roll(rails, -1, axis=0)
    channel = np.arange(width * channels, dtype=np.int32).reshape(width, 1, channels)
    share = ways * (num_servers - 1) / num_servers / (width * channels)
    net = ways * (num_servers - 1)
    return Traffic(
        algorithm="hierarchical",
        src=np.repeat(rails.T.ravel(), channels),
        dst=np.repeat(ahead.T.ravel(), channels),
        session=np.broadcast_to(channel, (width, num_servers, channels)).ravel(),
        share=np.full(width * channels, share),
        scale_up_share=ways * (inside - 1) / inside,
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY * constants.RING_EFFICIENCY,
        latency_s=net * constants.RING_NET_STEP_S + ways * (inside - 1) * constants.RING_SCALE_UP_STEP_S,
        num_net_steps=net,
        form="ring",
        why=f"inside {num_servers} servers first, then {width} rings of {num_servers} along the rails",
    )
