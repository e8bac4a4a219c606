"""Lets load decide how many replicas a service has: looks at the account, asks the scaler, writes the wish.

Nothing here starts or stops anything: the wish goes into the store with an event that says why, the service reconciler
and the one scheduler do the rest. The current number is the store's, so a new control process begins with it and with
the past from the ledger; only the window of the last minute is learned again.

Looks are cheap (a few cells of shared memory) and many, so that who waits at zero is seen within a tenth of a second;
the store is read only when it has changed.
"""

import asyncio
import logging

import msgspec

from roadbed.control.scaling import Decided, Scaler, Seen, bounds_of, past_loads, same_bounds
from roadbed.control.state import State
from roadbed.control.store.event import append_event, last_starts_s
from roadbed.control.store.replica import ReplicaRow, list_replicas
from roadbed.control.store.service import ServiceRow, get_service, list_services, put_service
from roadbed.control.store.usage import busy_minutes
from roadbed.engine.base import Capacity

logger = logging.getLogger(__name__)

LOOK_S = 0.1
QUIET_S = 5.0
"""With no service to scale; a commit ends it."""
STALE_S = 10.0
"""Older reports of servers by somebody else say nothing of now."""
PAST_S = 2 * 86_400.0
"""What a new scaler is told of: as much as its forecast keeps."""


class Scaled(msgspec.Struct, kw_only=True):
    """A service with scaling: its row and replicas as last read, and its scaler."""

    row: ServiceRow
    replicas: list[ReplicaRow]
    scaler: Scaler


class ScaleReconciler:
    """`one_pass` is what the loop runs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._news = state.signals.listen("scale.rows", "state")
        self._news.set()
        self._scaled: dict[str, Scaled] = {}
        self._starts: dict[str, tuple[frozenset[tuple[str, float]], list[float]]] = {}
        self._capacities: dict[str, Capacity] = {}
        """The last that a replica said, also while there is none."""

    async def one_pass(self) -> float:
        """Looks at every service with scaling; returns the seconds until the next look."""
        if self._news.is_set():
            self._news.clear()
            try:
                self._scaled = await asyncio.to_thread(self._read)
            except BaseException:
                self._news.set()  # what was missed is read by the next pass
                raise
        for name, scaled in self._scaled.items():
            decided = scaled.scaler.look(self._seen(scaled))
            if decided is None:
                continue
            row = scaled.row
            self._state.scaling[name] = decided
            if row.pinned_at is None and decided.num_replicas != row.num_desired:
                changed = await asyncio.to_thread(self._write, row, decided)
                scaled.row = row if changed is None else changed
        return LOOK_S if self._scaled else QUIET_S

    def _seen(self, scaled: Scaled) -> Seen:
        """Requests at its replicas, exactly; at servers of somebody else also those that are not ours."""
        row, account, now = scaled.row, self._state.account, self._state.store.clock()
        amount = num_waiting = num_finished = 0
        if account is not None:
            num_waiting = 0 if row.slot is None else account.totals(row.slot).in_flight
            for replica in scaled.replicas:
                totals = account.totals(replica.slot)
                amount += (
                    max(totals.in_flight, self._reported(replica, now)) if replica.is_external else totals.in_flight
                )
                num_finished += totals.finished_requests
        # Nobody wakes what was set to 0 by hand.
        num_desired = max(1, row.num_desired) if row.pinned_at is not None else row.num_desired
        return Seen(at=now, num_desired=num_desired, amount=amount, num_waiting=num_waiting, num_finished=num_finished)

    def _reported(self, replica: ReplicaRow, now: float) -> int:
        samples = self._state.loads.get(replica.id)
        if not samples or now - samples[-1].at > STALE_S:
            return 0
        return samples[-1].report.num_running + samples[-1].report.num_waiting

    # the store

    def _read(self) -> dict[str, Scaled]:
        store = self._state.store
        with store.read() as connection:
            rows = [row for row in list_services(connection) if row.spec.scaling is not None]
            replicas = list_replicas(connection) if rows else []
            by_service = {row.name: [one for one in replicas if one.service == row.name] for row in rows}
            for row in rows:
                ready = frozenset((one.id, one.ready_at) for one in by_service[row.name] if one.ready_at is not None)
                if row.name not in self._starts or self._starts[row.name][0] != ready:
                    self._starts[row.name] = (ready, last_starts_s(connection, row.name))
        names = by_service.keys()
        self._starts = {name: starts for name, starts in self._starts.items() if name in names}
        for name in self._state.scaling.keys() - names:
            del self._state.scaling[name]
        return {row.name: self._follow(row, by_service[row.name]) for row in rows}

    def _follow(self, row: ServiceRow, replicas: list[ReplicaRow]) -> Scaled:
        """The scaler there is, or a new one where its bounds have become others."""
        scaling = row.spec.scaling
        assert scaling is not None
        said = next((one.capacity for one in replicas if one.capacity is not None), None)
        if said is not None:
            self._capacities[row.name] = said
        bounds = bounds_of(row.spec, self._capacities.get(row.name), self._starts[row.name][1])
        known = self._scaled.get(row.name)
        if known is not None and (known.scaler.policy, known.scaler.interval_s) == (scaling.policy, scaling.interval):
            old = known.scaler.bounds
            if same_bounds(old, bounds):
                return Scaled(row=row, replicas=replicas, scaler=known.scaler)
        now = self._state.store.clock()
        with self._state.store.read() as connection:
            busy_s = busy_minutes(connection, row.name, max(row.created_at, now - PAST_S))
        past = past_loads(busy_s, row.num_desired, now)
        scaler = Scaler(scaling.policy, bounds, scaling.interval, past)
        logger.info(
            "%s is scaled by %s within %s, from %d minutes of its past", row.name, scaling.policy, bounds, len(past)
        )
        return Scaled(row=row, replicas=replicas, scaler=scaler)

    def _write(self, seen: ServiceRow, decided: Decided) -> ServiceRow | None:
        """The wish and why; None where somebody has changed the service since it was read."""
        store = self._state.store
        before, after = seen.num_desired, decided.num_replicas
        with store.write() as connection:
            row = get_service(connection, seen.name)
            if row != seen:
                return None
            now = store.clock()
            append_event(
                connection,
                now,
                noun="service",
                name=row.name,
                code="service.scaled",
                message=f"wants {after} replica{'' if after == 1 else 's'}, before {before}: {decided.sentence()}",
                actor="autoscaler",
                data={"before": before, "after": after, **msgspec.to_builtins(decided)},
            )
            row = msgspec.structs.replace(row, num_desired=after, updated_at=now)
            put_service(connection, row)
            return row
