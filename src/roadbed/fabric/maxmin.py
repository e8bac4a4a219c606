"""Who gets how much: max–min fair rates of sessions that share links.

Progressive filling raises one common rate until a link is full, freezes every session on it, and goes on: as many
rounds as there are different rates. A link's level (what is left of it, over the members not yet frozen) never falls
while others freeze, so every link that is lowest among all links it shares a session with is final at once, wherever
it is in the network. A round freezes all of them; rounds then count the depth of "this bottleneck waits for that one",
a handful even where every rate differs. (The same observation is behind the bottleneck structure of Ros-Giralt et al.,
SIGMETRICS 2019.) The price is a pass over all entries that are still open per round, instead of over links alone.
"""

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import Bools, Floats, Ints

TIE = 1e-12
"""Levels closer than this, relatively, fill together."""
_SPARSE = 8
"""Links are renumbered where a network has this many times more of them than sessions have entries."""


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to send over what: S sessions, E entries. Members of a session all progress at one rate."""

    start: Ints
    """[S + 1] Entries of session s: start[s] … start[s + 1]."""
    link: Ints
    """[E]"""
    count: Floats
    """[E] Members of the session on that link, not below 0; a part of a member where one is spread over paths."""
    cap: Floats
    """[S] Limit of one member's own rate, bytes/s; inf where it has none."""

    def __len__(self) -> int:
        return len(self.start) - 1

    @classmethod
    def of(cls, start: npt.ArrayLike, link: npt.ArrayLike, count: npt.ArrayLike | None = None) -> "Sessions":
        """Sessions without limits of their own; one member per entry where no counts are given."""
        links = np.asarray(link, np.int32)
        starts = np.asarray(start, np.int32)
        counts = np.ones(len(links)) if count is None else np.asarray(count, np.float64)
        return cls(start=starts, link=links, count=counts, cap=np.full(len(starts) - 1, np.inf))

    def taken(self, some: Ints) -> "Sessions":
        """Some of the sessions, in that order."""
        lengths = np.diff(self.start)[some]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        entry = np.repeat(self.start[some] - start[:-1], lengths) + np.arange(start[-1])
        return Sessions(start=start, link=self.link[entry], count=self.count[entry], cap=self.cap[some])

    def owner(self) -> Ints:
        """[E] The session of each entry."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))

    def load(self, rate: Floats, num_links: int) -> Floats:
        """[num_links] Bytes per second on each link at these member rates."""
        return sums(self.link, self.count * rate[self.owner()], num_links)


def sums(index: npt.NDArray[np.integer], values: Floats, num: int) -> Floats:
    """[num] Sum of the values at each index."""
    out: Floats = np.bincount(index, values, num).astype(np.float64, copy=False)
    return out


def share(capacity: Floats, sessions: Sessions) -> Floats:
    """Max–min fair member rates [S] in bytes/s. A session over a link without capacity gets 0; one that crosses no
    link gets its cap. ValueError for arrays that do not fit together or hold nan or negative numbers.

    O(E) per round; rounds are the longest chain of bottlenecks that wait for one another.
    """
    _check(capacity, sessions)
    rate = sessions.cap.astype(np.float64, copy=True)
    owner = sessions.owner()
    used = np.flatnonzero(sessions.count > 0)
    if len(used) == 0:
        return rate
    if len(used) == len(owner):
        link, count = sessions.link, sessions.count
    else:
        owner, link, count = owner[used], sessions.link[used], sessions.count[used]
    where = link.astype(np.intp)
    if _SPARSE * len(link) < len(capacity):
        names, where = np.unique(link, return_inverse=True)
        capacity = capacity[names]
    _fill(capacity.astype(np.float64, copy=True), owner, where, count, rate)
    return rate


def _fill(room: Floats, owner: Ints, link: npt.NDArray[np.intp], count: Floats, rate: Floats) -> None:
    """Lowers `rate`, which holds the caps, to the fair rates. `room` is used up."""
    num_links = len(room)
    weight = sums(link, count, num_links)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    sizes = np.diff(first, append=len(owner))
    who = owner[first]
    level = np.full(num_links, np.inf)
    while len(who):
        np.divide(room, weight, out=level, where=weight > 0)
        at = level[link]
        lowest = np.minimum(np.minimum.reduceat(at, first), rate[who])
        waits = at > np.repeat(lowest * (1 + TIE), sizes)
        final = np.ones(num_links, bool)
        final[link[waits]] = False
        done = np.logical_or.reduceat(final[link], first) | (lowest >= rate[who])
        rate[who[done]] = lowest[done]
        gone = np.repeat(done, sizes)
        freed, members = link[gone], count[gone]
        room -= sums(freed, members * np.repeat(lowest[done], sizes[done]), num_links)
        np.maximum(room, 0.0, out=room)
        weight -= sums(freed, members, num_links)
        left = ~gone
        link, count = link[left], count[left]
        who, sizes = who[~done], sizes[~done]
        first = np.cumsum(sizes) - sizes


def bottlenecked(capacity: Floats, sessions: Sessions, rate: Floats, tolerance: float = 1e-9) -> Bools:
    """[S] Which sessions run at their cap, or cross a full link on which no member is faster: all of them do if, and
    only if, feasible rates are max–min fair (Bertsekas and Gallager, Data Networks, 6.5.2)."""
    load = sessions.load(rate, len(capacity))
    owner = sessions.owner()
    fastest = np.zeros(len(capacity))
    np.maximum.at(fastest, sessions.link, np.where(sessions.count > 0, rate[owner], 0.0))
    full = load >= capacity * (1 - tolerance)
    holds = (sessions.count > 0) & full[sessions.link] & (rate[owner] >= fastest[sessions.link] * (1 - tolerance))
    found = rate >= sessions.cap * (1 - tolerance)
    found[owner[holds]] = True
    return found


def _check(capacity: Floats, sessions: Sessions) -> None:
    start, num = sessions.start, len(sessions.link)
    if start[0] != 0 or start[-1] != num or np.any(np.diff(start) < 0):
        raise ValueError("start must rise from 0 to the number of entries")
    if len(sessions.count) != num or len(sessions.cap) != len(sessions):
        raise ValueError("count is per entry, cap per session")
    if num and (sessions.link.min() < 0 or sessions.link.max() >= len(capacity)):
        raise ValueError("an entry names a link that is not there")
    for name, values in (("capacity", capacity), ("count", sessions.count), ("cap", sessions.cap)):
        if len(values) and not values.min() >= 0:
            raise ValueError(f"{name} holds a negative number or nan")
        if name != "cap" and len(values) and not values.max() < np.inf:
            raise ValueError(f"{name} must be finite")
