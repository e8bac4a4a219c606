"""The planner: places connections on the least loaded way their source ports can give them.

Two users. A host that knows its own network (HPN's findPaths, `everywhere=False`) places connections as they come. A
global planner (`everywhere=True`) sees the long-lived flows of all jobs at once, takes the heaviest first, as Crux
(SIGCOMM'24 §4) takes jobs by intensity and C4P (arXiv 2406.04594) places long-lived flows on paths, then lets
connections move while that helps the worst link they cross.

What can be chosen is what source ports can reach. Where the ToR's uplink fixes the rest (dual plane, or one cable per
Agg and ToR), the uplinks are the choices and a port is searched for afterwards. Elsewhere a sample of ports is walked
and the ways it leads are the choices; polarised hashes leave less to choose, and the planner inherits that.

Connections of different ToRs are placed side by side, those of one ToR in turn: rounds are as many as a ToR has
connections, whatever the size of the fabric.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import NOWHERE, Bools, Floats, Ints
from roadbed.fabric.hashing import FIRST_PORT, NUM_PORTS, HashModel, Words, find_ports
from roadbed.fabric.maxmin import sums
from roadbed.fabric.routes import Routes
from roadbed.fabric.walk import walk

SWEEPS = 24
"""Rounds of moving, at most; gains are nil before that on fabrics with rails."""
_MOVERS = 20_000
"""Connections that may ask to move in one sweep: those on the worst links."""
_SAMPLES = 2_000_000
"""Ways walked in all, where they must be sampled …"""
_MOST_SAMPLES, _FEWEST_SAMPLES = 48, 4
"""… and for each connection."""
_PAIRS = 40_000
_SPREAD = 0.01
"""A way's other links count this much beside its worst one."""

Wide = npt.NDArray[np.int64]


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """P connections; all arrays [P] but `usable`."""

    src: Ints
    dst: Ints
    crc: Words
    """The hash of the 5-tuple with source port 0."""
    usable: Bools
    """[P, port]"""
    weight: Floats
    """Load it brings, against the others."""
    start: Words
    """The source port the search begins with."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where they go."""

    links: Ints
    """[P, H] In order, padded with NOWHERE; all NOWHERE for what can't be placed."""
    src_port: Ints
    """[P]"""


class _Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Ways some connections could take."""

    rows: Wide
    """[n] Connections."""
    tor: Ints
    """[n] Where each begins."""
    shape: Wide
    """[n] Row of `ways`: connections of the same pair of ToRs share one."""
    ways: Ints
    """[m, K, H] Links beyond the card's own; NOWHERE pads."""
    num: Ints
    """[m] How many ways there are."""


def plan(routes: Routes, model: HashModel, demand: Demand, *, everywhere: bool) -> Plan:
    """A way for every connection. Deterministic: equal demands get equal plans."""
    order = np.argsort(-demand.weight, kind="stable") if everywhere else np.arange(len(demand.src))
    slot = _slots(routes, demand, order)
    links = np.full((len(slot), 1), NOWHERE, np.int32)
    port = np.full(len(slot), NOWHERE, np.int32)
    go = order[slot[order] != NOWHERE]
    if len(go) == 0:
        return Plan(links=links, src_port=port)
    first = np.full(len(slot), NOWHERE, np.int32)
    first[go] = routes.ports[demand.src[go] - routes.first_nic, slot[go]]
    exact, rest = _enumerate(routes, demand, first, go)
    sampled, ports = _sample(routes, model, demand, first, rest)
    load = np.zeros(routes.fabric.num_links + 1)
    cost = np.append(1 / np.maximum(routes.health.capacity, 1e-9), 0.0)
    taken = []
    for choices in (exact, sampled):
        chosen = _place(choices, demand.weight, load, cost)
        if everywhere:
            _settle(choices, chosen, demand.weight, load, cost)
        taken.append(chosen)
    port[exact.rows] = _ports_for(routes, model, demand, exact, taken[0])
    port[sampled.rows] = ports[np.arange(len(sampled.rows)), taken[1]]
    return Plan(links=_follow(routes, model, demand, first, port, go), src_port=port)


def _slots(routes: Routes, demand: Demand, order: Wide) -> Ints:
    """[P] Ports in turn, connection by connection of a card; neighbouring servers begin with different ones."""
    turn = np.empty(len(order), np.int64)
    turn[order] = rank_within(demand.src[order])
    turn += routes.fabric.server[demand.src]
    width = demand.usable.sum(axis=1)
    nth = turn % np.maximum(width, 1) + 1
    hit = demand.usable & (demand.usable.cumsum(axis=1) == nth[:, None])
    return np.where(width > 0, hit.argmax(axis=1), NOWHERE).astype(np.int32)


def _enumerate(routes: Routes, demand: Demand, first: Ints, go: Wide) -> tuple[_Choices, Wide]:
    """The connections whose uplink decides everything, with their uplinks; and the others."""
    tor, group = routes.fabric.dst[first[go]], routes.group(demand.dst[go])
    num_groups = routes.down.shape[1]
    pairs, which = np.unique(tor.astype(np.int64) * num_groups + group, return_inverse=True)
    parts = [_pair_ways(routes, pairs[at : at + _PAIRS], num_groups) for at in range(0, len(pairs), _PAIRS)]
    width = max(ways.shape[1] for ways, _ in parts)
    ways = np.concatenate(
        [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=NOWHERE) for one, _ in parts]
    )
    num = np.concatenate([one for _, one in parts])
    plain = num[which] > 0
    rows = np.flatnonzero(plain)
    return _Choices(rows=go[rows], tor=tor[rows], shape=which[rows], ways=ways, num=num), go[~plain]


def _pair_ways(routes: Routes, pairs: Wide, num_groups: int) -> tuple[Ints, Ints]:
    """(ways [m, K, 2], num [m]) of (ToR, group) pairs; num 0 where an uplink leaves anything open."""
    tor, group = (pairs // num_groups).astype(np.int32), (pairs % num_groups).astype(np.int32)
    start, link = routes.candidates(tor, group)
    num = np.diff(start)
    ways = np.full((len(pairs), max(1, int(num.max(initial=1))), 2), NOWHERE, np.int32)
    owner = np.repeat(np.arange(len(pairs)), num)
    place = np.arange(len(link)) - np.repeat(start[:-1], num)
    agg, goal = routes.fabric.dst[link], group[owner]
    beyond, which = np.unique(agg.astype(np.int64) * num_groups + goal, return_inverse=True)
    tails, tail = routes.candidates((beyond // num_groups).astype(np.int32), (beyond % num_groups).astype(np.int32))
    single = (np.diff(tails) == 1)[which] & (routes.down[agg - routes.first_switch, goal] == 2)
    ways[owner, place, 0] = link
    ways[owner, place, 1] = np.append(tail, NOWHERE)[np.minimum(tails[which], len(tail))]
    open_ = np.bincount(owner, ~single, len(pairs)) > 0
    here = routes.down[tor - routes.first_switch, group] == 1
    return ways, np.where(here, 1, np.where(open_, 0, num)).astype(np.int32)


def _sample(routes: Routes, model: HashModel, demand: Demand, first: Ints, rows: Wide) -> tuple[_Choices, Ints]:
    """Ways some source ports lead, and those ports [n, K]."""
    many = int(np.clip(_SAMPLES // max(1, len(rows)), _FEWEST_SAMPLES, _MOST_SAMPLES))
    steps = np.arange(many, dtype=np.uint32) * np.uint32(1021)
    ports = np.uint32(FIRST_PORT) + (demand.start[rows, None] - np.uint32(FIRST_PORT) + steps) % np.uint32(NUM_PORTS)
    crc = demand.crc[rows, None] ^ model.port_terms()[ports]
    links = walk(routes, model, np.repeat(first[rows], many), np.repeat(demand.dst[rows], many), crc.ravel())
    ways = links[:, 1:].reshape(len(rows), many, links.shape[1] - 1)
    choices = _Choices(
        rows=rows, tor=routes.fabric.dst[first[rows]], shape=np.arange(len(rows)), ways=ways,
        num=np.full(len(rows), many, np.int32),
    )  # fmt: skip
    return choices, ports.astype(np.int32)


def _score(ways: Ints, num: Ints, extra: Floats, load: Floats, cost: Floats, turn: Wide) -> Floats:
    """[n, K] How loaded each way would be with `extra` more on it; of equals, the `turn`-th first."""
    with_it = (load[ways] + extra[:, None, None] * (ways != NOWHERE)) * cost[ways]
    score: Floats = with_it.max(axis=2, initial=0.0) + _SPREAD * with_it.sum(axis=2)
    many = ways.shape[1]
    place = (np.arange(many)[None, :] - turn[:, None]) % np.maximum(num, 1)[:, None]
    score *= 1 + 1e-9 * place
    score[np.arange(many)[None, :] >= num[:, None]] = np.inf
    return score


def _place(choices: _Choices, weight: Floats, load: Floats, cost: Floats) -> Wide:
    """[n] The way each connection takes, one connection per ToR at a time. Adds to `load`."""
    chosen = np.zeros(len(choices.rows), np.int64)
    turn = rank_within(choices.tor)
    by_turn = np.argsort(turn, kind="stable")
    bounds = np.searchsorted(turn[by_turn], np.arange(int(turn.max(initial=-1)) + 2))
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        some = by_turn[low:high]
        shape = choices.shape[some]
        ways, extra = choices.ways[shape], weight[choices.rows[some]]
        score = _score(ways, choices.num[shape], extra, load, cost, choices.tor[some] * 7 + turn[some])
        chosen[some] = score.argmin(axis=1)
        _add(load, ways[np.arange(len(some)), chosen[some]], extra)
    return chosen


def _settle(choices: _Choices, chosen: Wide, weight: Floats, load: Floats, cost: Floats) -> None:
    """Moves connections to better ways while that helps them, worst links first. Changes `chosen` and `load`.

    Of all who want to move in a sweep, only one may leave each worst link and one may enter each new one: moves made
    side by side then do not undo each other.
    """
    for sweep in range(SWEEPS if len(chosen) else 0):
        now = choices.ways[choices.shape, chosen]
        strain = load[now] * cost[now]
        worst = strain.max(axis=1, initial=0.0)
        most = min(_MOVERS, len(worst))
        some = np.argpartition(-worst, most - 1)[:most]
        shape, extra, own = choices.shape[some], weight[choices.rows[some]], now[some]
        ways = choices.ways[shape]
        held = (ways[:, :, :, None] == own[:, None, None, :]).any(axis=3) & (ways != NOWHERE)
        with_it = (load[ways] + extra[:, None, None] * (~held & (ways != NOWHERE))) * cost[ways]
        score = with_it.max(axis=2, initial=0.0)
        score[np.arange(ways.shape[1])[None, :] >= choices.num[shape][:, None]] = np.inf
        turn = (np.arange(ways.shape[1])[None, :] - (choices.tor[some] + sweep)[:, None]) % ways.shape[1]
        best = (score * (1 + 1e-9 * turn)).argmin(axis=1)
        target = ways[np.arange(len(some)), best]
        gain = worst[some] - score[np.arange(len(some)), best]
        wants = np.flatnonzero(gain > 1e-6 * worst[some])
        wants = wants[np.argsort(-gain[wants], kind="stable")]
        wants = _one_each(wants, own[wants, strain[some[wants]].argmax(axis=1)])
        enters = with_it[wants, best[wants]].argmax(axis=1)
        wants = _one_each(wants, target[wants, enters])
        if len(wants) == 0:
            return
        _add(load, own[wants], -extra[wants])
        _add(load, target[wants], extra[wants])
        chosen[some[wants]] = best[wants]


def _one_each(rows: Wide, link: Ints) -> Wide:
    """The first row for each link, in the order given."""
    firsts: Wide = rows[np.sort(np.unique(link, return_index=True)[1])]
    return firsts


def _add(load: Floats, ways: Ints, extra: Floats) -> None:
    there = ways != NOWHERE
    load += sums(ways[there], np.broadcast_to(extra[:, None], ways.shape)[there], len(load))


def _ports_for(routes: Routes, model: HashModel, demand: Demand, choices: _Choices, chosen: Wide) -> Ints:
    """[n] A source port for each chosen uplink; the one it began with where it has no choice, or none will do."""
    rows, fanout = choices.rows, choices.num[choices.shape]
    ports = demand.start[rows].astype(np.int32)
    pick = np.flatnonzero(fanout > 1)
    found = find_ports(
        model, demand.crc[rows[pick]], choices.tor[pick], fanout[pick], chosen[pick].astype(np.int32),
        demand.start[rows[pick]],
    )  # fmt: skip
    ports[pick] = np.where(found == NOWHERE, ports[pick], found)
    return ports


def _follow(routes: Routes, model: HashModel, demand: Demand, first: Ints, port: Ints, go: Wide) -> Ints:
    """[P, H] Where the chosen ports lead: the hashes have the last word, not the plan."""
    crc = demand.crc[go] ^ model.port_terms()[port[go]]
    walked = walk(routes, model, first[go], demand.dst[go], crc)
    links = np.full((len(first), walked.shape[1]), NOWHERE, np.int32)
    links[go] = walked
    return links


def rank_within(values: npt.NDArray[np.integer]) -> Wide:
    """[n] How many equal values stand before each."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1)) if len(values) else np.zeros(0, np.int64)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values)) - np.repeat(begins, np.diff(begins, append=len(values)))
    return rank
