"""What a quota is: a guarantee, a ceiling, a weight and how its queue is served; and which trees of them make sense.

The accounts are in accounts.py.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from roadbed.errors import UsageError

Strategy = Literal["fifo", "traverse", "balance", "intelligent"]
Backfill = Literal["off", "easy", "conservative"]
GPU, CPU = "gpu", "cpu"
NO_LIMIT = 1 << 62
HINT = "roadbed quota"

QUOTA_MAX = "quota_max"
QUOTA_LENT = "quota_not_lent"
QUOTA_GUARANTEE = "quota_guarantee"
QUOTA_UNKNOWN = "quota_unknown"

Vector = tuple[int, ...]


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """min (guaranteed), max: thousandths by resource: a chip's name, "gpu" (accelerators of every kind) or "cpu".

    lending: others may use what of the guarantee is idle. preempt_siblings: work waiting here may stop what siblings
    run above their guarantee. preempt_children: in the quotas below, work of higher priority may stop borrowing work of
    lower priority. half_life_s: of past use in the order of quotas, 0 = only present use. age_s: waiting that raises a
    priority by one (intelligent). widen_s: waiting of the head that widens the window by one (balance).
    """

    name: str
    parent: str = ""
    min: dict[str, int] = {}
    max: dict[str, int] = {}
    weight: float = 1.0
    lending: bool = True
    preempt_siblings: bool = False
    preempt_children: bool = False
    strategy: Strategy = "intelligent"
    backfill: Backfill = "easy"
    half_life_s: float = 0.0
    age_s: float = 600.0
    widen_s: float = 300.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a quota stands, in thousandths by resource. fair: what it would have if everybody took their share now."""

    quota: str
    used: dict[str, int]
    waiting: dict[str, int]
    min: dict[str, int]
    max: dict[str, int]
    fair: dict[str, int]
    borrowing: bool


def check_quotas(quotas: Sequence[Quota]) -> None:
    """UsageError naming the first thing that is wrong: a name twice, an unknown parent, a cycle, sizes that clash."""
    known = {quota.name: quota for quota in quotas}
    if len(known) != len(quotas):
        names = [quota.name for quota in quotas]
        raise UsageError(f"quota {max(names, key=names.count)!r} is there twice", hint=HINT, field="name")
    for quota in quotas:
        if quota.parent and quota.parent not in known:
            raise UsageError(f"quota {quota.name!r}: there is no parent {quota.parent!r}", hint=HINT, field="parent")
        if not (quota.weight > 0 and math.isfinite(quota.weight)):
            raise UsageError(f"quota {quota.name!r}: weight {quota.weight} is not above 0", hint=HINT, field="weight")
        for name in {**quota.min, **quota.max}:
            low, most = quota.min.get(name, 0), quota.max.get(name, NO_LIMIT)
            if low < 0 or most < low:
                words = f"quota {quota.name!r}: {name} has min {low} and max {most}"
                raise UsageError(words, hint=HINT, field=name)
    for quota in quotas:
        seen = [quota.name]
        while known[seen[-1]].parent:
            seen.append(known[seen[-1]].parent)
            if seen[-1] in seen[:-1]:
                raise UsageError(f"quota {' → '.join(seen)} is its own ancestor", hint=HINT, field="parent")
    for quota in quotas:
        _check_children(quota, [child for child in quotas if child.parent == quota.name])


def _check_children(parent: Quota, children: Sequence[Quota]) -> None:
    for name in sorted({name for child in children for name in child.min}):
        promised = sum(child.min.get(name, 0) for child in children)
        has = parent.min.get(name, parent.min.get(GPU, 0) if name != CPU else 0)
        if promised > has:
            words = f"quota {parent.name!r} has {has} {name} guaranteed, its children {promised}"
            raise UsageError(words, hint=HINT, field="min")
