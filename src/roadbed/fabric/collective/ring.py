"""Rings: one per card, through all ranks of a server and on to the next server by the same card.

All-gather and reduce-scatter take n − 1 steps, all-reduce twice as many; every rank forwards what it has just received,
so a ring is as fast as its slowest edge. On a rail-optimised network the card it leaves by is the one it arrives at, so
inside a server the data makes as many hops as there are ranks (NCCL with PXN; SimAI's bandwidth model says the same).

`flat_ring` is the plan of somebody who knows nothing of the network: one ring through the ranks as they are numbered.
"""

import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric import constants
from roadbed.fabric.base import Fabric, Ints
from roadbed.fabric.collective.base import BUS_FACTOR, Op, Ranks, Traffic, empty
from roadbed.fabric.collective.rails import rails_of

RING_OPS: tuple[Op, ...] = ("allreduce", "allgather", "reducescatter", "broadcast")


def _num_steps(op: Op, num: int) -> int:
    return 2 * (num - 1) if op == "allreduce" else num - 1


def ring(fabric: Fabric, op: Op, ranks: Ranks, channels: int = constants.CHANNELS_PER_NIC) -> Traffic:
    """One ring per rail and channel."""
    rails = rails_of(fabric, ranks)
    num_servers, width = rails.shape
    factor = BUS_FACTOR[op](ranks.num)
    src, dst, session = empty(), empty(), empty()
    if num_servers > 1:
        ahead = np.roll(rails, -1, axis=0)
        src = np.repeat(rails.T.ravel(), channels)
        dst = np.repeat(ahead.T.ravel(), channels)
        channel = np.arange(width * channels, dtype=np.int32).reshape(width, 1, channels)
        session = np.broadcast_to(channel, (width, num_servers, channels)).ravel()
    steps = _num_steps(op, ranks.num)
    net = steps * (num_servers / ranks.num if num_servers > 1 else 0.0)
    return Traffic(
        algorithm="ring",
        src=src,
        dst=dst,
        session=session,
        share=np.full(width * channels if num_servers > 1 else 0, factor / (width * channels)),
        scale_up_share=factor if ranks.num > num_servers else 0.0,
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY * constants.RING_EFFICIENCY,
        latency_s=net * constants.RING_NET_STEP_S + (steps - net) * constants.RING_SCALE_UP_STEP_S,
        num_net_steps=net,
        form="ring",
        why=f"{width} rings of {ranks.num} ranks, {steps} steps each",
    )


def flat_ring(fabric: Fabric, op: Op, ranks: Ranks, channels: int = 1) -> Traffic:
    """One ring in rank order, each hop between servers over the card of the sending rank; always one channel."""
    if channels != 1:
        raise UsageError("flat_ring has one channel", field="channels")
    factor = BUS_FACTOR[op](ranks.num)
    ahead: Ints = np.roll(ranks.gpus, -1)
    between = fabric.server[ranks.gpus] != fabric.server[ahead]
    steps = _num_steps(op, ranks.num)
    net = steps * float(between.mean())
    return Traffic(
        algorithm="flat_ring",
        src=ranks.gpus[between],
        dst=ahead[between],
        session=np.zeros(int(between.sum()), np.int32),
        share=np.full(1 if between.any() else 0, factor),
        scale_up_share=factor if not between.all() else 0.0,
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY * constants.RING_EFFICIENCY,
        latency_s=net * constants.RING_NET_STEP_S + (steps - net) * constants.RING_SCALE_UP_STEP_S,
        num_net_steps=net,
        form="ring",
        why=f"one ring of {ranks.num} ranks as numbered, {int(between.sum())} hops between servers",
    )
