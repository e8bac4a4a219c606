"""Rates of the sessions that are sending now, kept max–min fair while sessions come, go and links change.

Solving everything at every event would make an event as dear as the whole network. Rates are max–min fair exactly when
every session has a bottleneck: a full link on which nobody is faster. So after a change it is enough to re-solve the
sessions the change touches, with what all others use taken off the links, and to look whether anybody near lost its
bottleneck or stands in the way of one. Those join, and the larger part is solved again, until nobody is left to join:
then everyone has a bottleneck, the touched ones by construction, the others as before. The part that is solved is at
most the connected component, mostly much less. Where it grows to half of everything, everything is solved.

A link knows its sessions through an index sorted by link, rebuilt now and then, and a short list of what came since.
"""

import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import NOWHERE, Bools, Floats, Ints
from roadbed.fabric.constants import CONGESTION_REACTION_S
from roadbed.fabric.maxmin import Sessions, share, sums
from roadbed.fabric.store import Index, Store

TOLERANCE = 1e-9
"""Rates and loads closer than this, relatively, are equal."""
_PATIENCE = 32
"""Rounds of joining one by one; then all neighbours join at once."""

Wide = npt.NDArray[np.int64]


class Fluid:
    """Sessions by number, in the order of `register`. Time only goes forward."""

    def __init__(self, capacity: Floats, hosts: Bools, tolerance: float = TOLERANCE) -> None:
        num = len(capacity)
        self.capacity = capacity.astype(np.float64, copy=True)
        self.hosts = hosts
        """[L] Links on which senders are limited before they meet others: those leaving GPUs and cards."""
        self.tolerance = tolerance
        self.store = Store()
        self._index = Index(num, self.store)
        self.load = np.zeros(num)
        """[L] Bytes per second."""
        self.members = np.zeros(num)
        self.sent_bytes = np.zeros(num)
        self.busy_s = np.zeros(num)
        self.offered = np.zeros(num)
        """[L] What the hosts would send over it if only their own links held them back."""
        self.peak_queue_bytes = np.zeros(num)
        self.num_solved = 0
        """Sessions solved so far, all solutions together: the work done."""
        self._since = np.zeros(num)
        self._fresh: list[Wide] = []
        self._touched: list[Ints] = []
        self._where = np.full(num, NOWHERE, np.int32)

    # what happens

    def register(self, sessions: Sessions) -> int:
        """Takes in sessions that do not send yet; returns the number of the first."""
        return self.store.add(sessions)

    def begin(self, numbers: Wide, now_s: float) -> None:
        """They send from now on."""
        store = self.store
        owner, link, count = store.entries(numbers)
        self._account(link, now_s)
        _add(self.members, link, count)
        store.active[numbers] = True
        store.num_active += len(numbers)
        self._index.add(link, count, numbers[owner])
        self._fresh.append(numbers)
        self._touched.append(link)

    def end(self, numbers: Wide, now_s: float) -> None:
        """They send no more. What each sent is the caller's to know."""
        store = self.store
        owner, link, count = store.entries(numbers)
        self._account(link, now_s)
        _add(self.members, link, -count)
        _add(self.load, link, -count * _finite(store.rate[numbers])[owner])
        _add(self.offered, link, -count * store.limit[numbers][owner])
        idle = link[self.members[link] < self.tolerance]
        self.members[idle] = self.load[idle] = self.offered[idle] = 0.0
        store.active[numbers] = False
        store.num_active -= len(numbers)
        store.rate[numbers] = 0.0
        store.limit[numbers] = 0.0
        self._index.forget(len(link))
        self._touched.append(link)

    def set_capacity(self, links: Ints, capacity: Floats, now_s: float) -> None:
        """Links carry this much from now on, bytes/s."""
        self._account(links, now_s)
        self.capacity[links] = capacity
        self._touched.append(links)

    def account(self, now_s: float) -> None:
        """Brings sent_bytes and busy_s of all links up to now."""
        self._account(np.arange(len(self.capacity), dtype=np.int32), now_s)

    def _account(self, links: Ints, now_s: float) -> None:
        some = np.unique(links) if len(links) < len(self.capacity) else np.arange(len(self.capacity))
        past = now_s - self._since[some]
        self.sent_bytes[some] += self.load[some] * past
        self.busy_s[some] += np.where(self.members[some] > 0, past, 0.0)
        self._since[some] = now_s

    # who gets how much

    def settle(self, now_s: float) -> tuple[Wide, Floats]:
        """Makes rates fair again after the changes since the last call. The sessions whose rate is another now (those
        that began among them), ascending, and the rates they had."""
        none = np.zeros(0, np.int64)
        if not self._fresh and not self._touched:
            return none, np.zeros(0)
        fresh = np.concatenate([none, *self._fresh])
        fresh = fresh[self.store.active[fresh]]
        touched = np.unique(np.concatenate([np.zeros(0, np.int32), *self._touched]))
        self._fresh, self._touched = [], []
        if self.store.num_active == 0:
            return none, np.zeros(0)
        region, rate = self._solve(fresh, touched, now_s)
        self._note_queues(touched, fresh)
        store = self.store
        before = store.rate[region]
        store.rate[region] = rate
        store.scratch[fresh] = True
        began = store.scratch[region]
        store.scratch[fresh] = False
        other = began | (np.abs(rate - before) > self.tolerance * np.maximum(rate, before))
        return region[other], before[other]

    def _solve(self, fresh: Wide, touched: Ints, now_s: float) -> tuple[Wide, Floats]:
        """(sessions, their fair rates). Updates loads and bottlenecks."""
        store, region = self.store, np.sort(fresh)
        inside = store.scratch
        inside[region] = True
        for turn in range(store.num_active + 1):
            if 2 * len(region) >= store.num_active:
                inside[region] = False
                return self._solve_all(now_s)
            rate, joins = self._try(region, touched, turn >= _PATIENCE, now_s)
            if len(joins) == 0:
                inside[region] = False
                return region, rate
            inside[joins] = True
            region = np.sort(np.concatenate([region, joins]))
        raise AssertionError("every turn adds a session, so turns are fewer than sessions")

    def _solve_all(self, now_s: float) -> tuple[Wide, Floats]:
        store = self.store
        everyone = np.flatnonzero(store.active)
        owner, link, count = store.entries(everyone)
        start = np.zeros(len(everyone) + 1, np.int32)
        np.cumsum(store.size[everyone], out=start[1:])
        rate = share(self.capacity, Sessions(start=start, link=link, count=count, cap=store.cap[everyone]))
        self.num_solved += len(everyone)
        self._account(link, now_s)
        speed = _finite(rate)[owner]
        self.load = sums(link, count * speed, len(self.load))
        fastest = np.zeros(len(self.load))
        np.maximum.at(fastest, link, speed)
        self._hold(everyone, owner, link, speed, fastest[link], self.load[link])
        return everyone, rate

    def _try(self, region: Wide, touched: Ints, all_join: bool, now_s: float) -> tuple[Floats, Wide]:
        """(rates of the region, who must join it). Loads and bottlenecks are written when nobody must."""
        store, slack = self.store, 1 - self.tolerance
        _, link, count = store.entries(region)
        links = np.unique(np.concatenate([link, touched]))
        at, session, members = self._index.pairs(links)
        outside = ~store.scratch[session]
        capacity = self.capacity[links]
        used = sums(at[outside], members[outside] * _finite(store.rate[session[outside]]), len(links))
        self._where[links] = np.arange(len(links), dtype=np.int32)
        start = np.zeros(len(region) + 1, np.int32)
        np.cumsum(store.size[region], out=start[1:])
        asked = Sessions(start=start, link=self._where[link], count=count, cap=store.cap[region])
        rate = share(np.maximum(capacity - used, 0.0), asked)
        self.num_solved += len(region)
        speed = _finite(np.where(outside, store.rate[session], 0.0))
        speed[~outside] = _finite(rate)[np.searchsorted(region, session[~outside])]
        load = sums(at, members * speed, len(links))
        fastest = np.zeros(len(links))
        np.maximum.at(fastest, at, speed)
        full = load >= capacity * slack
        held = full[at] & (speed >= fastest[at] * slack)
        wants = outside & (store.bottleneck[session] == links[at]) & ~held
        wants |= outside & (used > capacity / slack)[at]
        lacking = self._lacking(region, rate, session[held])
        if len(lacking):
            slowest = np.full(len(links), np.inf)
            mine = np.isin(session, lacking)
            np.minimum.at(slowest, at[mine], speed[mine])
            wants |= outside & full[at] & (speed > slowest[at] / slack)
        if wants.any():
            return rate, np.unique(session[outside if all_join else wants])
        self._account(links, now_s)
        self.load[links] = load
        own = ~outside
        self._hold(
            region, np.searchsorted(region, session[own]), links[at[own]], speed[own], fastest[at[own]], load[at[own]]
        )
        return rate, np.zeros(0, np.int64)

    def _lacking(self, region: Wide, rate: Floats, held: Wide) -> Wide:
        """Who of the region is neither held by a link nor at its own limit."""
        store = self.store
        free = (rate < store.cap[region] * (1 - self.tolerance)) & (store.size[region] > 0)
        return region[free & ~np.isin(region, held)]

    def _hold(self, who: Wide, owner: Wide, link: Ints, speed: Floats, fastest: Floats, load: Floats) -> None:
        """Writes down a bottleneck of each session; NOWHERE for who is at its own limit."""
        slack = 1 - self.tolerance
        held = (load >= self.capacity[link] * slack) & (speed >= fastest * slack)
        self.store.bottleneck[who] = NOWHERE
        self.store.bottleneck[who[owner[held]]] = link[held]

    # queues

    def _note_queues(self, touched: Ints, fresh: Wide) -> None:
        """What hosts offer to links they share, and the queue that stands there before senders have heard of it.

        A sender that meets a full port goes on at the rate its own links allow until the mark is back, one reaction
        time; the port's queue is what came in too much meanwhile. Sessions that cross no host link offer nothing.
        """
        store = self.store
        own = touched[self.hosts[touched]]
        if len(own) == 0:
            return
        alone = store.num_active == len(fresh)
        some = np.sort(fresh) if alone else np.unique(self._index.pairs(own)[1])
        owner, link, count = store.entries(some)
        host = self.hosts[link]
        limit = store.cap[some]
        np.minimum.at(limit, owner[host], self.capacity[link[host]] / self.members[link[host]])
        limit[~np.isfinite(limit)] = 0.0
        delta = limit - store.limit[some]
        store.limit[some] = limit
        _add(self.offered, link, count * delta[owner])
        excess = np.maximum(self.offered[link] - self.capacity[link], 0.0) * CONGESTION_REACTION_S
        excess[self.capacity[link] <= 0] = 0.0
        np.maximum.at(self.peak_queue_bytes, link, excess)


def _add(total: Floats, link: Ints, values: Floats) -> None:
    """Adds values at links; few of them without a pass over all links."""
    if len(link) < len(total) // 8:
        np.add.at(total, link, values)
    else:
        total += sums(link, values, len(total))


def _finite(rate: Floats) -> Floats:
    """Rates; 0 for sessions without links or limit, which load nothing."""
    return np.where(np.isfinite(rate), rate, 0.0)
