"""What people are shown of autoscaling: the range, what was last decided, on what, and who decided it."""

import msgspec

from roadbed.control.scaling import cold_start_of, target_of
from roadbed.control.state import State
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.service import ServiceRow

NO_DECISION = "nothing decided yet"


class ScalingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`num_waiting`: held by gateways now. `amount`: in flight, mean before the last decision; None before there is
    one. `num_affordable`: most the cost cap pays for. `why`: the last decision in words."""

    policy: str
    num_min: int
    num_max: int
    pinned: bool
    num_affordable: int
    target: float
    cold_start_s: float
    num_waiting: int
    amount: float | None
    reason: str
    decided_at: float | None
    why: str


def scaling_status(state: State, row: ServiceRow) -> ScalingStatus | None:
    """None for a service without scaling."""
    spec = row.spec
    if spec.scaling is None:
        return None
    decided = state.scaling.get(row.name)
    held = 0 if row.slot is None or state.account is None else state.account.totals(row.slot).in_flight
    pinned = row.pinned_at is not None
    why = NO_DECISION if decided is None else decided.sentence()
    if pinned:
        why = f"set to {row.num_desired} by hand; `roadbed scale {row.name} auto` lets load decide again"
    return ScalingStatus(
        policy=spec.scaling.policy,
        num_min=spec.replicas.min,
        num_max=spec.replicas.max,
        pinned=pinned,
        num_affordable=spec.replicas.max if decided is None else decided.num_affordable,
        target=target_of(spec, None) if decided is None else decided.target,
        cold_start_s=cold_start_of(spec, []) if decided is None else decided.cold_start_s,
        num_waiting=held,
        amount=None if decided is None else decided.amount,
        reason="pinned" if pinned else "" if decided is None else decided.reason,
        decided_at=None if decided is None else decided.at,
        why=why,
    )


def num_needed(row: ServiceRow, replicas: list[ReplicaRow]) -> int:
    """How many must be ready for a service to be well. What load asks for beyond the least is on its way, and nothing
    is wrong with that unless a replica fails or finds no place."""
    if row.deleted_at is not None:
        return 0
    if row.spec.scaling is None or row.pinned_at is not None:
        return row.num_desired
    stuck = any(one.state == "failed" or (one.state == "pending" and one.reason) for one in replicas)
    return row.num_desired if stuck else min(row.num_desired, row.spec.replicas.min)
