"""Which replica a conversation was on, and how much of it is cached there beyond what the prefix index knows.

The index holds prompts; the engine also holds what it generated. So the next turn of a session saves a little more on
the replica of the turn before: that saving, in tokens, is the whole of stickiness. It is weighed like any other
saving, so a session moves when its replica is busier than the saving is worth.
"""

from collections import OrderedDict
from typing import NamedTuple

TTL_S = 1800.0
MAX_SESSIONS = 100_000


class Visit(NamedTuple):
    """A session's last turn."""

    slot: int
    num_blocks: int
    """Full blocks of its prompt."""
    tokens: int
    """Prompt and answer: what the replica may hold."""
    at: float


class SessionMap:
    """Bounded, least recently used first out; entries older than the TTL count as absent."""

    def __init__(self, max_sessions: int = MAX_SESSIONS, ttl_s: float = TTL_S) -> None:
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._max_sessions = max_sessions
        self._ttl_s = ttl_s

    def __len__(self) -> int:
        return len(self._visits)

    def get(self, session: str, now: float) -> Visit | None:
        visit = self._visits.get(session)
        if visit is None:
            return None
        if now - visit.at > self._ttl_s:
            del self._visits[session]
            return None
        return visit

    def put(self, session: str, visit: Visit) -> None:
        self._visits[session] = visit
        self._visits.move_to_end(session)
        if len(self._visits) > self._max_sessions:
            self._visits.popitem(last=False)
