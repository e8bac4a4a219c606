"""Events and decisions are values: a journal written and read again is the same journal."""

import msgspec

from roadbed.scheduler.base import Placement, Shape, Slot
from roadbed.scheduler.core import replay
from roadbed.scheduler.events import (
    Adopt,
    Cordon,
    Decision,
    Demand,
    Entry,
    Event,
    Exited,
    Migrate,
    Moved,
    NodeDown,
    NodeUp,
    Quotas,
    Resize,
    Risk,
    Start,
    Started,
    Stop,
    Submit,
    Withdraw,
)
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler

PLACE = Placement((Slot(0, (0, 1)), Slot(1, (2,))))
EVENTS: list[Event] = [
    Submit(job("a", 2, chips=("H100",))),
    Withdraw("a"),
    Adopt(job("a"), PLACE, 3.5),
    Started("a"),
    Moved("a"),
    Exited("a", "stopped", 12.0),
    NodeDown("n"),
    NodeUp("n"),
    Cordon("n", drain=True, drain_by_s=5.0),
    Risk("n", 0.25),
    Quotas((Quota(name="q", min={"gpu": 1000}),)),
    Demand("q", 2, Shape(num_devices=1), ((1.0, 2.0),)),
]
DECISIONS: list[Decision] = [
    Start("a", PLACE, "backfill", 9.0),
    Stop("a", "reclaim", "b", 30.0),
    Resize("a", PLACE, PLACE, "grow"),
    Migrate("a", PLACE, PLACE, "risk", "n", 12.0),
]


def test_every_event_survives_being_stored() -> None:
    journal = [Entry(float(at), event) for at, event in enumerate([*EVENTS, None])]
    lines = [msgspec.json.encode(entry) for entry in journal]
    assert [msgspec.json.decode(line, type=Entry) for line in lines] == journal
    tags = [msgspec.json.decode(line)["event"]["type"] for line in lines[:-1]]
    assert len(set(tags)) == len(EVENTS)


def test_every_decision_survives_being_stored() -> None:
    stored = msgspec.json.encode(DECISIONS)
    assert msgspec.json.decode(stored, type=list[Decision]) == DECISIONS


def test_a_stored_journal_replays() -> None:
    edge = Edge(scheduler(nodes(1)))
    edge.submit(0.0, job("a", 8, priority=1), job("b", 4))
    edge.submit(1.0, job("c", 8, priority=9))
    edge.exit(2.0, "c")
    journal = msgspec.json.decode(msgspec.json.encode(edge.journal), type=list[Entry])
    again = scheduler(nodes(1))
    assert replay(again, journal) == edge.decided
    assert again.snapshot(2.0) == edge.scheduler.snapshot(2.0)
