"""Which links every connection takes: hash by hash, as the packets would.

A path is never drawn from a list of possible ones. It is what the host's bond and the switches' hashes make of a source
port, so whatever a policy wants it can only have by choosing ports:

* ecmp      the driver draws source ports, the bond picks the card's port, every switch hashes;
* disjoint  HPN's findPaths (SIGCOMM'24 §6.1): queue pairs alternate over the card's ports, and each takes a source port
            whose hash leads over the least loaded of the ToR's (≤ 60) uplinks, what is placed already considered;
* spray     a queue pair's packets go over `spray_paths` source ports in turn (Stellar, SIGCOMM'25: 128);
* planned   one planner places the flows of all jobs, heaviest first, and then moves what shares its worst link
            (`paths_plan`: C4P, Crux).

Hosts only use ports from which the destination can be reached; the host–switch system of HPN keeps them informed. A
pair that no port joins gets no links and is listed in `lost`: the caller knows what to tell whom.
"""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.fabric import paths_plan
from roadbed.fabric.base import NOWHERE, Fabric, Floats, Ints
from roadbed.fabric.hashing import HashModel, Words, address, bond_port, draw_ports
from roadbed.fabric.maxmin import sums
from roadbed.fabric.routes import Routes
from roadbed.fabric.walk import walk

Policy = Literal["ecmp", "disjoint", "spray", "planned"]
_SPRAY_CHUNK = 2_000_000


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """Links of each of P = F · qps connections, in order, from the source card's port to the destination card."""

    start: Ints
    """[P + 1] Entries of connection p: start[p] … start[p + 1]. None where the two cards are one, or it is lost."""
    link: Ints
    """[E]"""
    share: Floats
    """[E] Part of the connection's bytes that crosses the link: 1, less where it is sprayed."""
    hops: Ints
    """[P] Links from end to end."""
    latency_s: Floats
    """[P] Sum over them; of a sprayed connection the mean."""
    src_port: Ints
    """[P] The source port that leads there; NOWHERE where many do (spray) or none is needed."""
    lost: Ints
    """Connections whose ends no working way joins, ascending."""

    def links_of(self, at: int) -> Ints:
        """Links of connection `at`, in order."""
        return self.link[self.start[at] : self.start[at + 1]]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to place: F flows × qps queue pairs, flow by flow. All arrays [P]."""

    src: Ints
    dst: Ints
    crc: Words
    """The hash of the 5-tuple with source port 0."""
    key: Ints
    queue_pair: Ints
    flow: Ints
    usable: npt.NDArray[np.bool_]
    """[P, port] Ports of the source card from which the destination can be reached."""


def choose(
    routes: Routes,
    src_nic: Ints,
    dst_nic: Ints,
    *,
    policy: Policy = "ecmp",
    qps: int = 1,
    seed: int = 0,
    hash: HashModel | None = None,
    weight: Floats | None = None,
    spray_paths: int = 128,
    flow_key: Ints | None = None,
) -> Paths:
    """Paths of `qps` queue pairs for each flow src_nic[f] → dst_nic[f] (nodes); flow f's are f·qps … f·qps + qps − 1.

    weight: how much each flow will send, against the others; disjoint and planned balance it. flow_key: what a flow's
    source ports are drawn from beside the seed, so that it keeps them whoever else is there; its number by default.
    ValueError for arrays of different length and counts below 1.
    """
    if len(src_nic) != len(dst_nic) or qps < 1 or spray_paths < 1:
        raise ValueError("one source and one destination per flow, at least one queue pair and one path")
    model = hash if hash is not None else HashModel()
    asked = _ask(routes, src_nic, dst_nic, qps, model, flow_key)
    load = np.ones(len(src_nic)) if weight is None else weight.astype(np.float64)
    if policy == "spray":
        return _spray(routes, model, asked, seed, spray_paths)
    if policy == "ecmp":
        port = draw_ports(seed, asked.key, asked.queue_pair)
        slot = _nth_usable(asked, bond_port(_ip(routes, asked.src), _ip(routes, asked.dst), port, _width(asked)))
        return _gather(routes, asked, _walk(routes, model, asked, slot, port), port)
    chosen = paths_plan.plan(
        routes, model,
        paths_plan.Demand(
            src=asked.src, dst=asked.dst, crc=asked.crc, usable=asked.usable, weight=np.repeat(load / qps, qps),
            start=draw_ports(seed, asked.key, asked.queue_pair),
        ),
        everywhere=policy == "planned",
    )  # fmt: skip
    return _gather(routes, asked, chosen.links, chosen.src_port)


def _ask(routes: Routes, src_nic: Ints, dst_nic: Ints, qps: int, model: HashModel, flow_key: Ints | None) -> Asked:
    src, dst = (np.repeat(one, qps).astype(np.int32) for one in (src_nic, dst_nic))
    flow = np.repeat(np.arange(len(src_nic), dtype=np.int32), qps)
    usable = routes.slots(src_nic.astype(np.int32), dst_nic.astype(np.int32))
    usable &= (src_nic != dst_nic)[:, None]
    return Asked(
        src=src,
        dst=dst,
        crc=model.of_tuple(_ip(routes, src), _ip(routes, dst), np.zeros(len(src), np.uint32)),
        key=flow if flow_key is None else np.repeat(flow_key, qps).astype(np.int32),
        queue_pair=np.tile(np.arange(qps, dtype=np.int32), len(src_nic)),
        flow=flow,
        usable=np.repeat(usable, qps, axis=0),
    )


def _ip(routes: Routes, nic: Ints) -> Words:
    return address(routes.fabric, nic)


def _width(asked: Asked) -> npt.NDArray[np.int64]:
    width: npt.NDArray[np.int64] = asked.usable.sum(axis=1)
    return width


def _nth_usable(asked: Asked, nth: Ints) -> Ints:
    """[P] The port that is the nth usable one of its card; NOWHERE where there is none."""
    hit = asked.usable & (asked.usable.cumsum(axis=1) == (nth + 1)[:, None])
    return np.where(hit.any(axis=1), hit.argmax(axis=1), NOWHERE).astype(np.int32)


def _walk(routes: Routes, model: HashModel, asked: Asked, slot: Ints, port: Words) -> Ints:
    """[P, H] Links of each connection that leaves by this port of the card with this source port."""
    links = np.full((len(slot), 1), NOWHERE, np.int32)
    go = np.flatnonzero(slot != NOWHERE)
    if len(go) == 0:
        return links
    first = routes.ports[asked.src[go] - routes.first_nic, slot[go]]
    crc = asked.crc[go] ^ model.port_terms()[port[go]]
    walked = walk(routes, model, first, asked.dst[go], crc)
    links = np.full((len(slot), walked.shape[1]), NOWHERE, np.int32)
    links[go] = walked
    return links


def _gather(routes: Routes, asked: Asked, links: Ints, port: npt.NDArray[np.integer]) -> Paths:
    """Rows of links, padded with NOWHERE, as `Paths`."""
    there = links != NOWHERE
    hops = there.sum(axis=1).astype(np.int32)
    start = np.zeros(len(hops) + 1, np.int32)
    np.cumsum(hops, out=start[1:])
    link = links[there]
    latency = np.where(there, routes.fabric.latency_s[np.maximum(links, 0)], 0.0).sum(axis=1)
    return Paths(
        start=start, link=link, share=np.ones(len(link)), hops=hops, latency_s=latency,
        src_port=np.where(hops > 0, port.astype(np.int64), NOWHERE).astype(np.int32),
        lost=np.flatnonzero((hops == 0) & (asked.src != asked.dst)).astype(np.int32),
    )  # fmt: skip


def _spray(routes: Routes, model: HashModel, asked: Asked, seed: int, num_paths: int) -> Paths:
    """Every connection over many source ports, its card's ports in turn; equal links are summed."""
    num = len(asked.src)
    width = _width(asked)
    parts: list[tuple[Ints, Ints, Floats]] = []
    hops, latency = np.zeros(num, np.int32), np.zeros(num)
    for low in range(0, num, max(1, _SPRAY_CHUNK // num_paths)):
        rows = np.arange(low, min(num, low + max(1, _SPRAY_CHUNK // num_paths)))
        rows = rows[width[rows] > 0]
        many = np.repeat(rows, num_paths)
        nth = np.tile(np.arange(num_paths, dtype=np.int32), len(rows))
        spread = Asked(
            src=asked.src[many], dst=asked.dst[many], crc=asked.crc[many], key=asked.key[many],
            queue_pair=asked.queue_pair[many] * np.int32(num_paths) + nth, flow=asked.flow[many],
            usable=asked.usable[many],
        )  # fmt: skip
        slot = _nth_usable(spread, (nth % width[many]).astype(np.int32))
        walked = _walk(routes, model, spread, slot, draw_ports(seed, spread.key, spread.queue_pair))
        there = walked != NOWHERE
        hops[rows] = there.sum(axis=1).reshape(-1, num_paths).max(axis=1, initial=0)
        parts.append(_summed(many, walked, there, num_paths, routes.fabric))
    owner, link, share = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _NOTHING
    start = np.zeros(num + 1, np.int32)
    np.cumsum(np.bincount(owner, minlength=num), out=start[1:])
    latency = sums(owner, share * routes.fabric.latency_s[link], num)
    return Paths(
        start=start, link=link, share=share, hops=hops, latency_s=latency, src_port=np.full(num, NOWHERE, np.int32),
        lost=np.flatnonzero((hops == 0) & (asked.src != asked.dst)).astype(np.int32),
    )  # fmt: skip


_NOTHING = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))


def _summed(
    owner: npt.NDArray[np.int64], links: Ints, there: npt.NDArray[np.bool_], num_paths: int, fabric: Fabric
) -> tuple[Ints, Ints, Floats]:
    """(connection, link, share) with every link of a connection once, in the order of hops."""
    depth = np.broadcast_to(np.arange(links.shape[1]), links.shape)[there]
    key = np.repeat(owner, links.shape[1]).reshape(links.shape)[there] * fabric.num_links + links[there]
    names, first, counts = np.unique(key, return_index=True, return_counts=True)
    who = names // fabric.num_links
    order = np.lexsort((names, depth[first], who))
    return who[order].astype(np.int32), (names % fabric.num_links)[order].astype(np.int32), counts[order] / num_paths


class Connections:
    """Which of a pair's queue pairs to post on: the one with the fewest bytes outstanding (HPN §6.1).

    The sender's counter of a queue pair rises when a work request is posted and falls when its completion arrives, so
    a queue pair on a slow path is chosen less without anyone measuring the path.
    """

    def __init__(self, num: int) -> None:
        if num < 1:
            raise ValueError("a pair needs at least one connection")
        self.outstanding_bytes = np.zeros(num)

    def post(self, size_bytes: float) -> int:
        """Puts a message on the least loaded connection (the first of equals) and says which."""
        at = int(self.outstanding_bytes.argmin())
        self.outstanding_bytes[at] += size_bytes
        return at

    def complete(self, at: int, size_bytes: float) -> None:
        """A completion for that many bytes. ValueError if fewer are outstanding there."""
        if size_bytes > self.outstanding_bytes[at] * (1 + 1e-9):
            raise ValueError(f"connection {at} completes {size_bytes:g} bytes of {self.outstanding_bytes[at]:g}")
        self.outstanding_bytes[at] = max(0.0, self.outstanding_bytes[at] - size_bytes)
