"""What a placement costs a gang, cheap enough to ask for every candidate: the scheduler's view of a fabric.

The same stages and forms as `collective.run`, but counts in place of paths: how many queue pairs leave each segment
and each pod, over how many uplinks, and, where switches hash, how full the fullest of them is expected to be
(balls into bins). What a path-by-path solution knows beyond that is which link was unlucky. Inside a segment nothing
is ever contended but the card itself.

Servers are taken whole and in rank order by topology, which is also the order handed to the launcher.
"""

import math
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.errors import UsageError
from roadbed.fabric import constants
from roadbed.fabric.base import Bools, Fabric, Floats, Ints, Kind, LinkKind
from roadbed.fabric.collective.base import BUS_FACTOR, ranks_of
from roadbed.fabric.collective.run import PathOptions, Priced, scale_up_rate, time_s
from roadbed.fabric.collective.tree import both_trees, can_nvls

Wide = npt.NDArray[np.int64]


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """What a gang sends between all of its ranks in one step. Bytes as the operations count them."""

    allreduce_bytes: float = 0.0
    alltoall_bytes: float = 0.0


class Estimate(msgspec.Struct, frozen=True):
    """A placement's communication."""

    seconds: float
    segments: int
    pods: int
    order: Ints
    """Servers in the order their ranks should stand."""


@lru_cache(maxsize=65_536)
def expected_fullest(balls: int, bins: int) -> float:
    """Expected load of the fullest of `bins` after `balls` fell at random; the bins' loads taken as independent."""
    if balls <= 0 or bins <= 0:
        return 0.0
    mean = balls / bins
    term = cdf = math.exp(-mean) if mean < 600 else 0.0
    if cdf == 0.0:
        return mean + math.sqrt(2 * mean * math.log(max(bins, 2)))
    expected = 0.0
    for load in range(1, balls + 1):
        expected += 1.0 - cdf**bins
        if load > mean and 1.0 - cdf**bins < 1e-9:
            break
        term *= mean / load
        cdf = min(1.0, cdf + term)
    return expected


@lru_cache(maxsize=4096)
def _trees(num: int) -> tuple[Wide, Wide]:
    """Sender and receiver of every edge of both trees, up and down."""
    child, parent, _ = both_trees(num)
    return np.concatenate([child, parent]).astype(np.int64), np.concatenate([parent, child]).astype(np.int64)


class PlacementCost:
    """Prices placements of whole servers on one fabric. Build once, ask thousands of times."""

    def __init__(self, fabric: Fabric, options: PathOptions) -> None:
        self.fabric = fabric
        self._hashed = options.policy == "ecmp"
        self._polarised = options.hash.seed_per == "tier" and len(set(options.hash.seeds)) == 1
        self._qps = options.qps
        first = np.searchsorted(fabric.server[: fabric.num_gpus], np.arange(fabric.num_servers))
        self._segment = fabric.segment[first].astype(np.int64)
        self._pod = fabric.pod[first].astype(np.int64)
        self._width = len(np.unique(fabric.gpu_nic[: fabric.gpus_per_server]))
        cards = fabric.kind[fabric.src] == Kind.NIC
        access = (fabric.link_kind == LinkKind.ACCESS) & cards
        num_cards = max(1, len(np.unique(fabric.src[access])))
        self._card = float(fabric.capacity[access].sum()) / num_cards * constants.NIC_EFFICIENCY
        self._up = self._tier(Kind.TOR, LinkKind.FABRIC, fabric.segment)
        self._core = self._tier(Kind.AGG, LinkKind.CORE, fabric.pod)
        self._rails = self._width if fabric.traits.rail_optimised else 1
        inside = scale_up_rate(fabric)
        self._inside = float(inside.min()) if len(inside) else 0.0

    def _tier(self, kind: Kind, link_kind: LinkKind, group: Ints) -> tuple[Ints, float]:
        """Uplinks of each group (segment, pod), and the payload one carries."""
        fabric = self.fabric
        mine: Bools = (fabric.link_kind == link_kind) & (fabric.kind[fabric.src] == kind)
        num = np.bincount(group[fabric.src[mine]], minlength=int(group.max()) + 1) if mine.any() else np.zeros(1)
        rate = float(fabric.capacity[mine].min()) * constants.NIC_EFFICIENCY if mine.any() else 0.0
        return num.astype(np.int32), rate

    def estimate(self, servers: "Wide | Ints | list[int]", pattern: Pattern) -> Estimate:
        """Seconds of a step's communication with the gang on these servers. UsageError on servers there are not."""
        chosen = np.asarray(servers, np.int64)
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= self.fabric.num_servers:
            raise UsageError(f"servers are 0 … {self.fabric.num_servers - 1}", field="servers")
        order = chosen[np.lexsort((chosen, self._segment[chosen], self._pod[chosen]))]
        segment, pod = self._segment[order], self._pod[order]
        seconds = 0.0
        if pattern.allreduce_bytes:
            seconds += self._allreduce(order, segment, pod, pattern.allreduce_bytes)
        if pattern.alltoall_bytes:
            seconds += self._alltoall(segment, pod, pattern.alltoall_bytes)
        return Estimate(seconds, len(np.unique(segment)), len(np.unique(pod)), order.astype(np.int32))

    def _allreduce(self, order: Wide, segment: Wide, pod: Wide, size: float) -> float:
        num = len(order)
        ranks = num * self.fabric.gpus_per_server
        share = BUS_FACTOR["allreduce"](max(ranks, 2)) if ranks > 1 else 0.0
        per_flow = share / (self._width * constants.CHANNELS_PER_NIC * self._qps)
        around = np.arange(num)
        net = self._net(around, np.roll(around, -1), segment, pod, per_flow, constants.CHANNELS_PER_NIC)
        steps = 2 * (ranks - 1)
        hops = steps * num / ranks if num > 1 else 0
        latency = hops * constants.RING_NET_STEP_S + (steps - hops) * constants.RING_SCALE_UP_STEP_S
        copies = constants.SCALE_UP_EFFICIENCY * constants.RING_EFFICIENCY
        kernel = share / (self._inside * copies) if self._inside else 0.0
        ring = time_s(Priced(constants.BASE_S + latency, kernel, net, "ring", -1), size)
        gpus = (order[:, None] * self.fabric.gpus_per_server + np.arange(self.fabric.gpus_per_server)).ravel()
        if ranks < 2 or not self._inside or not can_nvls(self.fabric, "allreduce", ranks_of(self.fabric, gpus)):
            return ring
        per_flow = 0.5 / (self._width * self._qps)
        src, dst = _trees(num) if num > 1 else (around[:0], around[:0])
        net = self._net(src, dst, segment, pod, per_flow, 1)
        latency = constants.NVLS_STEP_S + 2 * (num.bit_length() - 1) * constants.TREE_NET_STEP_S
        kernel = (1 + 1 / self.fabric.gpus_per_server) / (self._inside * constants.NVLS_EFFICIENCY)
        return min(ring, time_s(Priced(constants.BASE_S + latency, kernel, net, "tree", -1), size))

    def _net(self, src: Wide, dst: Wide, segment: Wide, pod: Wide, per_flow: float, channels: int) -> float:
        """Seconds per byte between servers: the busiest card, or the fullest uplink of a segment or a pod."""
        if len(src) == 0:
            return 0.0
        flows = channels * self._qps
        busiest = max(int(np.bincount(src).max()), int(np.bincount(dst).max()))
        slowest = self._port(busiest * flows, len(segment)) / self._card
        for label, tier in ((segment, self._up), (pod, self._core)):
            crossing = label[src] != label[dst]
            if crossing.any() and tier[1]:
                counts = np.bincount(label[src[crossing]], minlength=1)
                for group in np.flatnonzero(counts):
                    slowest = max(slowest, self._fullest(int(counts[group]) * flows, int(tier[0][group])) / tier[1])
        return per_flow * slowest

    def _port(self, flows: int, num: int) -> float:
        """Twice the queue pairs on the fullest port of all cards of num servers, which have two ports each."""
        if not self._hashed:
            return float(flows)
        cards = num * self._width
        return 2 * min(float(flows), expected_fullest(flows * cards, 2 * cards))

    def _fullest(self, flows_per_rail: int, uplinks: int) -> float:
        """Queue pairs on the fullest uplink of a group."""
        bins = max(1, uplinks // self._rails)
        balls = flows_per_rail * (self._width // self._rails if self._rails else 1)
        if not self._hashed:
            return float(-(-balls // bins))
        return expected_fullest(balls, max(1, bins // 2) if self._polarised else bins)

    def _alltoall(self, segment: Wide, pod: Wide, size: float) -> float:
        """Every rank to every other: what leaves a server, a segment, a pod, over what carries it."""
        num, each = len(segment), self.fabric.gpus_per_server
        ranks = num * each
        if ranks < 2:
            return 0.0
        peers = max(1, (num - 1) * self._qps)
        busiest = each * (ranks - each) / ranks / (self._width * self._card) * self._port(peers, num) / peers
        for label, tier in ((segment, self._up), (pod, self._core)):
            if not tier[1]:
                continue
            counts = np.bincount(label)
            leaving: Floats = counts * each * (ranks - counts * each) / ranks
            room = tier[0][: len(counts)] * tier[1]
            busiest = max(busiest, float((leaving / np.maximum(room, 1.0)).max()))
        rounds = math.ceil(max(num - 1, 0) / constants.NUM_P2P_PEERS)
        inside = (each - 1) / each / (self._inside * constants.SCALE_UP_EFFICIENCY) if self._inside else 0.0
        latency = constants.BASE_S + rounds * constants.RING_NET_STEP_S
        return time_s(Priced(latency, inside, busiest if num > 1 else 0.0, "messages", -1), size)
