"""Double binary trees per card, up (reduce) and down (broadcast): latency grows with the logarithm of the servers.

Two trees over the servers, each with half of the data; who is inside one is a leaf of the other, so each card sends no
more than two halves up and two down (Sanders, Speck, Träff: "Two-tree algorithms for full bandwidth broadcast", 2009).
Inside a server either a chain of ranks (`tree`) or a reduction in the scale-up switch (`nvls_tree`).
"""

import numpy as np

from roadbed.fabric import constants
from roadbed.fabric.base import Fabric, Floats, Ints
from roadbed.fabric.collective.base import Op, Ranks, Traffic
from roadbed.fabric.collective.rails import rails_of

TREE_OPS: tuple[Op, ...] = ("allreduce", "broadcast")
NVLS_CHIPS = ("H100", "H200", "H800", "H20", "GB200")
"""Chips whose scale-up switch reduces (third-generation NVSwitch and later)."""


def parents(num: int) -> Ints:
    """[num] parent of each place in the first tree; −1 for the root, place 0.

    In-order numbering: a place hangs on the one that differs in its lowest set bit, so subtrees are contiguous and most
    edges are short.
    """
    place = np.arange(num, dtype=np.int64)
    low = place & -place
    up = (place ^ low) | (low << 1)
    up = np.where(up >= num, place ^ low, up)
    up[0] = -1
    return up.astype(np.int32)


def both_trees(num: int) -> tuple[Ints, Ints, Ints]:
    """(child, parent, tree) of every edge of the two trees over num places. The second is the first mirrored (even
    num) or shifted by one (odd)."""
    up = parents(num)
    child = np.arange(1, num, dtype=np.int32)
    parent = up[1:]
    if num % 2 == 0:
        other_child, other_parent = num - 1 - child, num - 1 - parent
    else:
        other_child, other_parent = (child + 1) % num, (parent + 1) % num
    tree = np.repeat(np.arange(2, dtype=np.int32), num - 1)
    return np.concatenate([child, other_child]), np.concatenate([parent, other_parent]), tree


def _depth(num_servers: int) -> int:
    return max(num_servers, 1).bit_length() - 1


def _edges(rails: Ints, op: Op, channels: int) -> tuple[Ints, Ints, Ints]:
    """src, dst, session of every connection: all rails, both trees, both directions for all-reduce."""
    num_servers, width = rails.shape
    child, parent, tree = both_trees(num_servers)
    copies = max(1, channels // 2)
    child, parent = np.tile(child, copies), np.tile(parent, copies)
    tree = np.concatenate([tree + 2 * copy for copy in range(copies)])
    low, high = rails[child].T.ravel(), rails[parent].T.ravel()
    session = (2 * copies * np.arange(width, dtype=np.int32)[:, None] + tree[None, :]).ravel()
    if op == "broadcast":
        return high, low, session
    return np.concatenate([low, high]), np.concatenate([high, low]), np.concatenate([session, session])


def _shares(num_servers: int, width: int, channels: int) -> Floats:
    """One session per tree, card and pair of channels; a channel without its pair still has both trees."""
    copies = max(1, channels // 2)
    num = 2 * copies * width if num_servers > 1 else 0
    return np.full(num, 0.5 / (width * copies))


def tree(fabric: Fabric, op: Op, ranks: Ranks, channels: int = constants.CHANNELS_PER_NIC) -> Traffic:
    """Trees between servers, a chain of ranks in each."""
    rails = rails_of(fabric, ranks)
    num_servers, width = rails.shape
    ways = 2 if op == "allreduce" else 1
    longest = int(np.diff(ranks.start).max())
    steps = ways * (longest - 1)
    net = ways * _depth(num_servers)
    src, dst, session = _edges(rails, op, channels)
    return Traffic(
        algorithm="tree",
        src=src,
        dst=dst,
        session=session,
        share=_shares(num_servers, width, channels),
        scale_up_share=ways * (longest - 1) / longest,
        scale_up_efficiency=constants.SCALE_UP_EFFICIENCY * constants.RING_EFFICIENCY,
        latency_s=steps * constants.TREE_SCALE_UP_STEP_S + net * constants.TREE_NET_STEP_S,
        num_net_steps=net,
        form="tree",
        why=f"two trees of {num_servers} servers per card, {_depth(num_servers)} levels; a chain of {longest} in each",
    )


def can_nvls(fabric: Fabric, op: Op, ranks: Ranks) -> bool:
    """Whether the scale-up switch can reduce: such a chip, all-reduce, and whole servers."""
    return (
        op == "allreduce"
        and fabric.chip.split("-")[0] in NVLS_CHIPS
        and ranks.per_server == fabric.gpus_per_server
        and fabric.gpus_per_server > 1
    )


def nvls(fabric: Fabric, op: Op, ranks: Ranks, channels: int = constants.CHANNELS_PER_NIC) -> Traffic:
    """Reduction in the scale-up switch, trees per card between servers (NCCL: NVLS, NVLSTree)."""
    rails = rails_of(fabric, ranks)
    num_servers, width = rails.shape
    net = 2 * _depth(num_servers)
    src, dst, session = _edges(rails, op, channels)
    return Traffic(
        algorithm="nvls_tree" if num_servers > 1 else "nvls",
        src=src,
        dst=dst,
        session=session,
        share=_shares(num_servers, width, channels),
        scale_up_share=1 + 1 / fabric.gpus_per_server,
        scale_up_efficiency=constants.NVLS_EFFICIENCY,
        latency_s=constants.NVLS_STEP_S + net * constants.TREE_NET_STEP_S,
        num_net_steps=net,
        form="tree",
        why=f"reduced in the scale-up switch; two trees of {num_servers} servers per card",
    )
