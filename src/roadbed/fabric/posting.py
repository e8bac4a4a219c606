"""A sender that cuts its data into messages and posts each on the connection with the least outstanding (HPN §6.1).

Between two cards there are several connections over disjoint paths. Cutting the data evenly makes the slowest path the
pace of all; posting message by message, where the counter is lowest, lets a quick path take more without anybody
measuring paths. The price here is an event per message, so it is for a few pairs, not for a whole collective.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from roadbed.errors import UsageError
from roadbed.fabric.flows import Flows
from roadbed.fabric.maxmin import Sessions
from roadbed.fabric.paths import Connections, Paths

MAX_MESSAGES = 1_000_000
Choice = Literal["fewest", "turns"]

Wide = npt.NDArray[np.int64]


class Sender:
    """A `Program` of `simulate`: one pair's data over the connections of `paths`, `depth` messages at a time on the
    way over each on average. choice: the fewest bytes outstanding, or each connection in turn. UsageError for sizes
    that are not positive, more than MAX_MESSAGES messages, or connections without a way."""

    def __init__(
        self, paths: Paths, size_bytes: float, message_bytes: float, *, depth: int = 2, choice: Choice = "fewest"
    ) -> None:
        num = len(paths.hops)
        for name, value in (("size_bytes", size_bytes), ("message_bytes", message_bytes)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value:g}; it must be above 0", field=name)
        if size_bytes / message_bytes > MAX_MESSAGES:
            raise UsageError(
                f"{size_bytes:g} bytes are more than {MAX_MESSAGES:,} messages of {message_bytes:g}",
                field="message_bytes",
            )
        if num == 0 or len(paths.lost) or depth < 1:
            raise UsageError("a sender needs connections that lead somewhere, and a depth of at least 1", field="paths")
        self.paths = paths
        self.left_bytes = float(size_bytes)
        self.message_bytes = float(message_bytes)
        self.choice = choice
        self.window = depth * num
        self.connections = Connections(num)
        self.sent_bytes = np.zeros(num)
        """What each connection has carried, or is carrying."""
        self._posted: list[tuple[int, float]] = []
        self._last: dict[int, int] = {}
        """Connection → the last message posted on it."""

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        """Counts completions and posts as many messages as came back."""
        for number in finished.tolist():
            self.connections.complete(*self._posted[number])
        posts = []
        for _ in range(len(finished) if self._posted else self.window):
            size = min(self.message_bytes, self.left_bytes)
            if size <= 0:
                break
            self.left_bytes = max(0.0, self.left_bytes - size)
            posts.append(self._post(size))
        return self._flows(posts) if posts else None

    def _post(self, size: float) -> tuple[int, float]:
        if self.choice == "fewest":
            at = self.connections.post(size)
        else:
            at = len(self._posted) % len(self.sent_bytes)
            self.connections.outstanding_bytes[at] += size
        self.sent_bytes[at] += size
        self._posted.append((at, size))
        return at, size

    def _flows(self, posts: list[tuple[int, float]]) -> Flows:
        """A flow per message. A queue pair sends its messages in order, one after the other without a gap: only the
        last ones, which nothing hides, are charged the path's latency."""
        paths = self.paths
        first = len(self._posted) - len(posts)
        after: list[list[int]] = []
        for number, (at, _) in enumerate(posts, first):
            after.append([self._last[at]] if at in self._last else [])
            self._last[at] = number
        ways = [paths.links_of(at) for at, _ in posts]
        shares = [paths.share[paths.start[at] : paths.start[at + 1]] for at, _ in posts]
        start = np.cumsum([0, *map(len, ways)], dtype=np.int32)
        sessions = Sessions.of(start, np.concatenate(ways), np.concatenate(shares))
        latency = [float(paths.latency_s[at]) if self.left_bytes == 0 else 0.0 for at, _ in posts]
        return Flows.of(sessions, [size for _, size in posts], latency_s=latency, after=after)
