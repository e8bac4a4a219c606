"""What the scheduler says about the replicas there are: who has a place, why not, who must go, who could make room."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from roadbed.control.jobs import replica_job, replica_job_id
from roadbed.control.pool import Claimed, LivePool
from roadbed.control.reconcilers.decide import holds_room
from roadbed.control.store.replica import ReplicaRow
from roadbed.runtime.base import ProcessStatus
from roadbed.scheduler.base import Placement, Slot


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler's part of the reconciler's `World`; see there."""

    granted: dict[str, Placement]
    waits: dict[str, tuple[str, str]]
    evicted: frozenset[str]
    relieves: frozenset[tuple[str, str]]


def ask(pool: LivePool, rows: Sequence[ReplicaRow], processes: Mapping[str, ProcessStatus], now: float) -> Asked:
    """Tells the scheduler of all replicas, lets it decide, and collects what it says of them."""
    claims = {replica_job_id(row.id): claim for row in rows if (claim := _claim(pool, row, processes)) is not None}
    pool.sync("replica", claims, now)
    pool.decide(now)
    ids = {row.id: replica_job_id(row.id) for row in rows if not row.is_external}
    granted = {name: pool.granted[id_] for name, id_ in ids.items() if id_ in pool.granted}
    waits: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row.state == "pending" and row.id in ids and row.id not in granted:
            reason = pool.reason(ids[row.id], now)
            if reason is not None:
                waits[row.id] = (reason.code, reason.message)
    return Asked(
        granted=granted,
        waits=waits,
        evicted=frozenset(name for name, id_ in ids.items() if id_ in pool.stops or id_ in pool.moves),
        relieves=frozenset(_relieves(pool, rows, waits)),
    )


def _claim(pool: LivePool, row: ReplicaRow, processes: Mapping[str, ProcessStatus]) -> Claimed | None:
    holds = holds_room(row, processes.get(row.process))
    if row.is_external or (row.state != "pending" and not holds):
        return None
    # A row written before placements were kept ran on the only machine there was.
    placement = (row.placement or Placement((Slot(0),))) if holds else None
    return Claimed(replica_job(row, pool.chips), placement, row.since)


def _relieves(pool: LivePool, rows: Sequence[ReplicaRow], waits: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """For a rolling change without room for one more: which old replica's leaving would make it."""
    for row in rows:
        if row.id in waits:
            gang = replica_job(row, pool.chips).gang
            for other in rows:
                rolls = other.service == row.service and other.generation < row.generation
                if rolls and other.state == "ready" and pool.how_many(gang, 1, [replica_job_id(other.id)]):
                    yield row.id, other.id
