"""What the platform says of itself, asked through the control API at most once a second for all viewers together.

Nothing is asked while nobody looks: a page's poll makes the reading, the readings of the last five minutes are the
charts' history, and a pause shows as a gap. So a console nobody watches costs nothing; the price is that the charts
begin with the first look. Speeds are means over ten seconds: engines count a request's tokens when it ends, so those of
one second jump between nothing and everything.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from roadbed.control.client import ControlClient, read_platform
from roadbed.errors import RoadbedError
from roadbed.home import Home

logger = logging.getLogger(__name__)

MAX_AGE_S = 0.9
HISTORY_S = 300
SPEED_WINDOW_S = 10.0
NUM_EVENTS = 60
MAX_TASKS = 100
NUM_ENDED = 12
POOL_SHARE = 0.2
"""Most of the time that looking at queue and tasks may take: with many of them they are looked at less often."""
ASK_TIMEOUT_S = 5.0


class PoolReading(msgspec.Struct, frozen=True, kw_only=True):
    """Machines and who wants them, as the control API sent it."""

    nodes: list[dict[str, Any]] = []
    quotas: list[dict[str, Any]] = []
    queue: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    """The newest MAX_TASKS that have not ended, oldest first."""
    ended: list[dict[str, Any]] = []
    """The NUM_ENDED that ended last, latest first."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of the control API, as it sent them. `error` says why there are none, or only old ones."""

    gateway_url: str = ""
    version: str = ""
    status: dict[str, Any] | None = None
    live: dict[str, Any] | None = None
    services: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    """Newest last."""
    speeds: dict[str, float] = {}
    """Tokens/s by service and by replica, where somebody counts them."""
    pool: "PoolReading" = PoolReading()
    error: str = ""
    hint: str = ""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One place in the charts. `at` in Unix seconds; TTFT in seconds, None = no request finished in the window."""

    at: float
    tokens_per_s: float
    ttft_p50_s: float | None
    ttft_p90_s: float | None


class Reader:
    """Shared by all requests of one event loop."""

    def __init__(self, home: Home, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._token = token
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last = Reading()
        self._read_at = float("-inf")
        self._points: deque[Point] = deque(maxlen=HISTORY_S + 1)
        self._speeds = Speeds()
        self._pool_due_at = float("-inf")

    async def read(self) -> Reading:
        """The platform now, or as it was less than MAX_AGE_S ago. Never raises for a control that does not answer."""
        async with self._lock:
            if self._clock() - self._read_at >= MAX_AGE_S:
                self._last = await self._ask()
                self._read_at = self._clock()
            return self._last

    def points(self, after: float) -> list[Point]:
        """History later than `after`, oldest first."""
        return [point for point in self._points if point.at > after]

    def client(self) -> ControlClient:
        """A client for one thread. Raises UnreachableError."""
        return ControlClient(str(read_platform(self._home)["api_url"]), self._token, timeout_s=ASK_TIMEOUT_S)

    def gateway_url(self) -> str:
        """Where the gateway listens. Reads a file; raises UnreachableError."""
        return str(read_platform(self._home).get("gateway_url", ""))

    async def _ask(self) -> Reading:
        try:
            # The default executor, not the API's pool: the API's handlers need theirs to answer us.
            reading = await asyncio.to_thread(self._ask_all)
        except RoadbedError as error:
            logger.warning("the console cannot read the platform: %s", error.message)
            return msgspec.structs.replace(self._last, error=error.message, hint=error.hint or "")
        assert reading.live is not None
        speeds = self._speeds.take(reading.live, reading.services)
        ttft = reading.live["ttft_s"]
        total = sum(speeds.get(service["name"], 0.0) for service in reading.services)
        self._points.append(Point(reading.live["at"], total, ttft["p50"], ttft["p90"]))
        return msgspec.structs.replace(reading, speeds=speeds)

    def _ask_all(self) -> Reading:
        client = self.client()
        platform = read_platform(self._home)
        return Reading(
            gateway_url=str(platform.get("gateway_url", "")),
            version=str(platform.get("version", "")),
            status=client.status(),
            live=client.live(),
            services=client.services(),
            events=client.events(newest=True, limit=NUM_EVENTS)["events"],
            pool=self._ask_pool(client),
        )

    def _ask_pool(self, client: ControlClient) -> PoolReading:
        begun = self._clock()
        if begun < self._pool_due_at:
            return self._last.pool
        newest = client.tasks(limit=MAX_TASKS)
        ended = sorted(
            (row for row in newest if row["ended_at"] and not _active(row)), key=lambda row: -row["ended_at"]
        )
        pool = PoolReading(
            nodes=client.nodes(),
            quotas=client.quotas(),
            queue=client.queue(),
            tasks=client.tasks(everything=False, limit=MAX_TASKS),
            ended=ended[:NUM_ENDED],
        )
        now = self._clock()
        self._pool_due_at = now + (now - begun) * (1 / POOL_SHARE - 1)
        return pool


def _active(row: dict[str, Any]) -> bool:
    return row["state"] not in ("finished", "failed", "stopped")


class Speeds:
    """Tokens/s over the last SPEED_WINDOW_S of readings."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, float]]] = deque()

    def take(self, live: dict[str, Any], services: list[dict[str, Any]]) -> dict[str, float]:
        """Means by replica id and by service name. Engines run by someone else do not count for us: their services get
        what their finished requests got over the API's window, and their replicas nothing.
        """
        now = live["at"]
        foreign = {service["name"] for service in services if service["spec"]["engine"]["kind"] == "openai"}
        counting = [replica for replica in live["replicas"] if replica["service"] not in foreign]
        self._seen.append((now, {replica["id"]: replica["tokens_per_s"] for replica in counting}))
        while self._seen[0][0] <= now - SPEED_WINDOW_S or self._seen[0][0] > now:
            self._seen.popleft()
        speeds = {
            service["name"]: service["tokens_per_s"] for service in live["services"] if service["name"] in foreign
        }
        for replica in counting:
            found = [values[replica["id"]] for _, values in self._seen if replica["id"] in values]
            mean = sum(found) / len(found)
            speeds[replica["service"]] = speeds.get(replica["service"], 0.0) + mean
            speeds[replica["id"]] = mean
        return speeds
