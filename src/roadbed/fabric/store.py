"""Where the sessions of a running simulation are kept: their entries one after the other, and an index by link.

Arrays grow by doubling. Entries of sessions that ended are dropped when they are the larger part, so a simulation of
many short flows holds what is alive, not what ever was; a session's few scalars stay, for its number stays.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import NOWHERE, Floats, Ints
from roadbed.fabric.maxmin import Sessions

_LEAST = 1024
_RECENT = 64
"""New entries are looked through one by one while they are fewer than this times the root of all."""

Wide = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


class Store:
    """Sessions by number. All arrays are longer than `num`; what lies beyond is spare."""

    def __init__(self) -> None:
        self.num = 0
        self.num_active = 0
        self.size = np.zeros(_LEAST, np.int64)
        """Entries of a session; 0 once they were dropped."""
        self.cap = np.zeros(_LEAST)
        self.rate = np.zeros(_LEAST)
        self.limit = np.zeros(_LEAST)
        """Rate its own host allows; 0 while it does not send."""
        self.bottleneck = np.full(_LEAST, NOWHERE, np.int32)
        self.active = np.zeros(_LEAST, bool)
        self.over = np.zeros(_LEAST, bool)
        """It ended: its entries may be dropped."""
        self.scratch = np.zeros(_LEAST, bool)
        """All False between calls."""
        self._first = np.zeros(_LEAST, np.int64)
        self._link = np.zeros(_LEAST, np.int32)
        self._count = np.zeros(_LEAST)
        self.num_entries = 0

    def add(self, sessions: Sessions) -> int:
        """Appends sessions; the number of the first."""
        first, num, entries = self.num, len(sessions), len(sessions.link)
        self._reserve(first + num, entries)
        new = slice(first, first + num)
        self.size[new] = np.diff(sessions.start)
        self._first[new] = self.num_entries + sessions.start[:-1]
        self.cap[new] = sessions.cap
        self._link[self.num_entries : self.num_entries + entries] = sessions.link
        self._count[self.num_entries : self.num_entries + entries] = sessions.count
        self.num += num
        self.num_entries += entries
        return first

    def entries(self, numbers: Wide) -> tuple[Wide, Ints, Floats]:
        """(position in `numbers`, link, count) of all entries of these sessions, session by session."""
        size = self.size[numbers]
        total = int(size.sum())
        owner = np.repeat(np.arange(len(numbers)), size)
        at = np.arange(total) + np.repeat(self._first[numbers] - (np.cumsum(size) - size), size)
        return owner, self._link[at], self._count[at]

    def drop(self, numbers: Wide) -> None:
        """These ended for good."""
        self.over[numbers] = True

    def _reserve(self, num: int, entries: int) -> None:
        if num > len(self.size):
            longer = max(num, 2 * len(self.size))
            for name in ("size", "cap", "rate", "limit", "bottleneck", "active", "over", "scratch", "_first"):
                setattr(self, name, _longer(getattr(self, name), longer))
        if self.num_entries + entries <= len(self._link):
            return
        self._compact()
        longer = max(2 * (self.num_entries + entries), _LEAST)
        if longer > len(self._link):
            self._link, self._count = _longer(self._link, longer), _longer(self._count, longer)

    def _compact(self) -> None:
        """Drops the entries of sessions that are over."""
        alive = np.flatnonzero(~self.over[: self.num] & (self.size[: self.num] > 0))
        _, link, count = self.entries(alive)
        sizes = self.size[alive]
        self.size[: self.num][self.over[: self.num]] = 0
        self._first[alive] = np.cumsum(sizes) - sizes
        self.num_entries = len(link)
        self._link[: len(link)], self._count[: len(link)] = link, count


class Index:
    """Which sending sessions cross a link."""

    def __init__(self, num_links: int, store: Store) -> None:
        self._store = store
        self._start = np.zeros(num_links + 1, np.int64)
        self._session = np.zeros(0, np.int64)
        self._count = np.zeros(0)
        self._recent: list[tuple[Ints, Floats, Wide]] = []
        self._num_recent = 0
        self._num_gone = 0
        self._where = np.full(num_links, NOWHERE, np.int32)

    def add(self, link: Ints, count: Floats, session: Wide) -> None:
        """Sessions begin to cross links."""
        self._recent.append((link, count, session))
        self._num_recent += len(link)

    def forget(self, num_entries: int) -> None:
        """So many entries belong to sessions that are not active any more."""
        self._num_gone += num_entries

    def pairs(self, links: Ints) -> tuple[Wide, Wide, Floats]:
        """(position in `links`, session, count) of every sending session on these links, which must differ."""
        known = len(self._session)
        if self._num_recent > max(_LEAST, _RECENT * known**0.5) or self._num_gone > max(_LEAST, known):
            self._rebuild()
        size = self._start[links + 1] - self._start[links]
        where = np.repeat(np.arange(len(links)), size)
        at = np.arange(len(where)) + np.repeat(self._start[links] - (np.cumsum(size) - size), size)
        session, count = self._session[at], self._count[at]
        if self._recent:
            self._join()
            link, new_count, new = self._recent[0]
            self._where[links] = np.arange(len(links), dtype=np.int32)
            place = self._where[link]
            self._where[links] = NOWHERE
            hit = np.flatnonzero(place != NOWHERE)
            where = np.concatenate([where, place[hit]])
            session, count = np.concatenate([session, new[hit]]), np.concatenate([count, new_count[hit]])
        sends = self._store.active[session]
        return where[sends], session[sends], count[sends]

    def _join(self) -> None:
        if len(self._recent) > 1:
            link, count, session = (np.concatenate(part) for part in zip(*self._recent, strict=True))
            self._recent = [(link, count, session)]

    def _rebuild(self) -> None:
        """Sorts what is sending now by link."""
        everyone = np.flatnonzero(self._store.active)
        owner, link, count = self._store.entries(everyone)
        order = np.argsort(link, kind="stable")
        self._session, self._count = everyone[owner[order]], count[order]
        np.cumsum(np.bincount(link, minlength=len(self._start) - 1), out=self._start[1:])
        self._recent, self._num_recent, self._num_gone = [], 0, 0


def _longer(array: npt.NDArray[Number], length: int) -> npt.NDArray[Number]:
    out = np.zeros(length, array.dtype)
    out[: len(array)] = array
    return out
