"""All-to-all and send/recv: every rank to every other, and every rank to the next.

`direct` sends from the sender's card to the receiver's, across rails where the network joins them. `pxn` hands data to
the local GPU on the receiver's rail first (one hop inside the server), so the network sees traffic of equal rails only,
and messages of one server to one GPU travel as one (NCCL's PXN).

A large all-to-all has more pairs than anybody can list: rotations of the servers are sampled evenly and each counts for
as many as it stands for. All rotations of a full mesh are alike to a symmetric network; docs/design/fabric.md says what
the sample costs.
"""

import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric import constants
from roadbed.fabric.base import NOWHERE, Fabric, Ints
from roadbed.fabric.collective.base import Op, Ranks, Traffic
from roadbed.fabric.collective.rails import rails_of

MAX_CONNECTIONS = 400_000


def _rotations(num_servers: int, per_rotation: int) -> tuple[Ints, float]:
    """Rotations to list (1 … N − 1, evenly spread) and how many each stands for."""
    every = num_servers - 1
    kept = max(1, min(every, MAX_CONNECTIONS // max(per_rotation, 1)))
    chosen = np.unique(np.linspace(1, every, kept).round().astype(np.int32)) if every else np.zeros(0, np.int32)
    return chosen, every / len(chosen) if len(chosen) else 0.0


def _scale_up(ranks: Ranks, longest: int, passed_on: float) -> float:
    """Bytes a GPU hands to its scale-up switch: to its neighbours, and what it passes on for other rails."""
    return (longest - 1) / ranks.num + passed_on


def pxn(fabric: Fabric, op: Op, ranks: Ranks, channels: int = 1) -> Traffic:
    """All-to-all over equal rails."""
    rails = rails_of(fabric, ranks)
    num_servers, width = rails.shape
    longest = int(np.diff(ranks.start).max())
    rotations, weight = _rotations(num_servers, num_servers * width)
    src = np.tile(rails.T.ravel(), len(rotations))
    dst = np.concatenate([np.roll(rails, -int(by), axis=0).T.ravel() for by in rotations]) if len(rotations) else src
    outside = (ranks.num - longest) / ranks.num
    return Traffic(
        algorithm="pxn",
        src=np.repeat(src, channels),
        dst=np.repeat(dst, channels),
        session=np.zeros(len(src) * channels, np.int32),
        share=np.full(1 if len(src) else 0, weight / channels * longest * longest / width / ranks.num),
        scale_up_share=_scale_up(ranks, longest, outside * (longest - 1) / longest),
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY,
        latency_s=_latency(num_servers, longest, num_servers - 1),
        num_net_steps=np.ceil((num_servers - 1) / constants.NUM_P2P_PEERS),
        form="messages",
        why=f"{num_servers} servers to each other along {width} rails, one hop inside the server first",
    )


def direct(fabric: Fabric, op: Op, ranks: Ranks, channels: int = 1) -> Traffic:
    """All-to-all from card to card."""
    grid = ranks.grid()
    num_servers, width = grid.shape
    if num_servers > 1 and (fabric.gpu_nic[grid] == NOWHERE).any():
        raise UsageError("a GPU without a card can't reach other servers", field="gpus")
    rotations, weight = _rotations(num_servers, num_servers * width * width)
    src = np.tile(np.repeat(grid, width, axis=1).ravel(), len(rotations))
    across = [np.tile(np.roll(grid, -int(by), axis=0), (1, width)).ravel() for by in rotations]
    dst = np.concatenate(across) if across else src
    peers = ranks.num - width
    return Traffic(
        algorithm="direct",
        src=np.repeat(src, channels),
        dst=np.repeat(dst, channels),
        session=np.zeros(len(src) * channels, np.int32),
        share=np.full(1 if len(src) else 0, weight / channels / ranks.num),
        scale_up_share=_scale_up(ranks, width, 0.0),
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY,
        latency_s=_latency(num_servers, width, peers),
        num_net_steps=np.ceil(peers / constants.NUM_P2P_PEERS),
        form="messages",
        why=f"{ranks.num} ranks to each other, card to card",
    )


def _latency(num_servers: int, inside: int, peers: int) -> float:
    """Rounds of as many peers as a rank talks to at once."""
    rounds = float(np.ceil(peers / constants.NUM_P2P_PEERS)) if num_servers > 1 else 0.0
    return rounds * constants.RING_NET_STEP_S + (constants.RING_SCALE_UP_STEP_S if inside > 1 else 0.0)


def neighbours(fabric: Fabric, op: Op, ranks: Ranks, channels: int = constants.CHANNELS_PER_NIC) -> Traffic:
    """Send/recv: every rank to the next one in rank order, the last to the first (nccl-tests sendrecv)."""
    ahead: Ints = np.roll(ranks.gpus, -1)
    between = fabric.server[ranks.gpus] != fabric.server[ahead]
    num = int(between.sum())
    return Traffic(
        algorithm="sendrecv",
        src=np.repeat(ranks.gpus[between], channels),
        dst=np.repeat(ahead[between], channels),
        session=np.repeat(np.arange(num, dtype=np.int32), channels),
        share=np.full(num, 1.0 / channels),
        scale_up_share=0.0 if between.all() else 1.0,
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY,
        latency_s=constants.RING_NET_STEP_S if num else constants.RING_SCALE_UP_STEP_S,
        num_net_steps=1.0 if num else 0.0,
        form="messages",
        why=f"{ranks.num} ranks to the next, {num} of them on another server",
    )
