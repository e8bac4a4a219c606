"""Services on their way to what was asked: each event as it happens, a heartbeat where nothing does, a verdict.

Polls the API ten times a second instead of holding an event stream: a stream says what happened, and the verdict
(ready, can't be placed, keeps failing) needs the state anyway.
"""

import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import HEARTBEAT_S, dim, human_bytes, talk
from roadbed.errors import EngineError, NoCapacityError

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient

POLL_S = 0.1
PLACE_GRACE_S = 3.0
"""Room may come from a replica that is just leaving; only then is there none."""
NUM_FAILURES = 2
"""A replica that failed this often since we look will not come by itself."""
COLOURS = {"ready": "green", "failed": "red", "waiting": "yellow", "created": "blue", "starting": "blue"}


class Follower:
    """Made before the change it follows, so that no event and no failure is missed."""

    def __init__(self, control: "ControlClient") -> None:
        self._control = control
        self._after = int(control.events(newest=True, limit=1)["next"])
        self._failures = {row["id"]: row["restarts"] for row in control.replicas()}
        self._spoke = time.monotonic()
        self._stuck_since: float | None = None

    def until_ready(self, names: Collection[str], wait_s: float) -> bool:
        """True when every named service has what it wants and nothing else, False after `wait_s`.

        Raises NoCapacityError when a replica can't be placed, EngineError when one keeps failing.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < wait_s:
            self._tell(names)
            rows = [row for row in self._control.services() if row["name"] in names]
            if len({row["name"] for row in rows}) == len(set(names)) and all(map(_settled, rows)):
                self._tell(names)
                return True
            self._judge(rows)
            self._heartbeat(rows, time.monotonic() - begun)
            time.sleep(POLL_S)
        return False

    def until_gone(self, name: str, wait_s: float) -> bool:
        """True when nothing of the service is left."""
        begun = time.monotonic()
        while time.monotonic() - begun < wait_s:
            self._tell([name])
            rows = [row for row in self._control.services() if row["name"] == name]
            if not rows:
                return True
            self._heartbeat(rows, time.monotonic() - begun)
            time.sleep(POLL_S)
        return False

    def _tell(self, names: Collection[str]) -> None:
        page = self._control.events(after=self._after)
        self._after = max(self._after, int(page["next"]))
        for event in page["events"]:
            if event["noun"] in ("service", "replica", "model") and _concerns(event, names):
                self._spoke = time.monotonic()
                talk(describe(event))

    def _judge(self, rows: list[dict[str, Any]]) -> None:
        replicas = [replica for row in rows for replica in row["replicas"]]
        for replica in replicas:
            num_failures = replica["restarts"] - self._failures.get(replica["id"], 0)
            if num_failures >= NUM_FAILURES and replica["message"]:
                raise EngineError(
                    f"{replica['id']} failed {num_failures} times: {replica['message']}",
                    hint=f"roadbed logs {replica['id']}",
                )
        refused = [row for row in replicas if row["state"] == "pending" and row["reason"]]
        moving = any(row["state"] in ("starting", "pulling", "draining", "stopping") for row in replicas)
        if not refused or moving:
            self._stuck_since = None
            return
        first = refused[0]
        self._stuck_since = self._stuck_since or time.monotonic()
        if first["reason"] == "too_large" or time.monotonic() - self._stuck_since > PLACE_GRACE_S:
            raise NoCapacityError(
                f"{first['id']} can't be placed ({first['reason']}): {first['message']}",
                hint=f"roadbed explain {first['service']}",
            )

    def _heartbeat(self, rows: list[dict[str, Any]], waited_s: float) -> None:
        if time.monotonic() - self._spoke < HEARTBEAT_S:
            return
        self._spoke = time.monotonic()
        for row in rows:
            states = ", ".join(f"{replica['id']} {replica['state']}" for replica in row["replicas"]) or "no replica yet"
            note = self._fetching(row["spec"]["model"]) if any(r["state"] == "pulling" for r in row["replicas"]) else ""
            talk(dim(f"  {row['name']}: {waited_s:.0f} s; {states}{note}"))

    def _fetching(self, model: str) -> str:
        for row in self._control.models():
            if model in (row["name"], row["source"]) and row["state"] == "pulling":
                total = f" of {human_bytes(row['size_bytes'])}" if row["size_bytes"] else ""
                return f"; fetched {human_bytes(row['done_bytes'])}{total}"
        return ""


def describe(event: dict[str, Any]) -> str:
    """One line of an event: who, what, why."""
    word = event["code"].partition(".")[2]
    return f"  {event['name']:<16} {click.style(f'{word:<12}', fg=COLOURS.get(word))} {event['message']}"


def _settled(row: dict[str, Any]) -> bool:
    current = [r for r in row["replicas"] if r["generation"] >= row["launch_generation"] and r["state"] == "ready"]
    num_desired: int = row["num_desired"]
    return len(current) == len(row["replicas"]) == num_desired


def _concerns(event: dict[str, Any], names: Collection[str]) -> bool:
    if event["noun"] == "replica":
        return event["name"].rpartition("-")[0] in names
    return event["noun"] == "model" or event["name"] in names
