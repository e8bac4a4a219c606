"""How waiting work is ordered, as policies by name: one scheduler object, other switches.

    fifo          one line for everybody, nobody overtakes
    fair          every quota its own line, whoever has least of its share first; no backfill, nobody is stopped
    traverse      as fair, but what does not fit is passed over
    easy          as fair, with backfill around one reservation per quota
    conservative  as fair, with backfill around several
    roadbed       guarantees are taken back, backfill, ageing: the default of a real cluster
    defrag        as roadbed, and a few jobs with checkpoints move where that gives a waiting gang its place

`name/placement` puts another placement policy under it, such as `fifo/bestfit`; alone it is `roadbed`, for all alike,
so that queueing is compared with queueing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roadbed.scheduler.policies.registry import check_policy
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota

_FAIR: dict[str, Any] = {"strategy": "fifo", "backfill": "off"}
_TAKING_BACK: dict[str, Any] = {"strategy": "intelligent", "backfill": "easy", "preempt_siblings": True}
_RULES: dict[str, tuple[bool, dict[str, Any], Config]] = {
    # one line for all, the quotas' switches, the scheduler's
    "fifo": (True, _FAIR, Config(preempt=False)),
    "fair": (False, _FAIR, Config(preempt=False)),
    "traverse": (False, {"strategy": "traverse", "backfill": "off"}, Config(preempt=False)),
    "easy": (False, {"strategy": "fifo", "backfill": "easy"}, Config(preempt=False)),
    "conservative": (False, {"strategy": "fifo", "backfill": "conservative"}, Config(preempt=False)),
    "roadbed": (False, _TAKING_BACK, Config()),
    "defrag": (False, _TAKING_BACK, Config(defrag_moves=8, defrag_cost_device_s=8 * 3600.0)),
}
ONE_LINE = "all"
QUEUEING_NAMES: tuple[str, ...] = tuple(_RULES)


class Queueing(msgspec.Struct, frozen=True):
    """A named set of switches. placement: a name of the scheduler's policies."""

    name: str
    placement: str
    one_line: bool
    quota: dict[str, Any]
    config: Config


def make_queueing(name: str) -> Queueing:
    """`easy`, or `easy/fgd`. UsageError for names there are not."""
    rule, slash, placement = name.partition("/")
    check_policy(rule, QUEUEING_NAMES)
    if slash:
        check_policy(placement)
    one_line, switches, config = _RULES[rule]
    return Queueing(name, placement or "roadbed", one_line, switches, config)


def make_quotas(queueing: Queueing, shares: Mapping[str, float], capacity_milli: int) -> tuple[Quota, ...]:
    """The quotas of a scenario. shares: of the devices that each is guaranteed, at most 1 together.

    A guarantee is lent while it is idle. With one line for all there is only the quota ONE_LINE, for every job.
    """
    if queueing.one_line:
        return (Quota(name=ONE_LINE, **queueing.quota),)
    return tuple(
        Quota(name=name, min={"gpu": int(share * capacity_milli)}, weight=max(share, 1e-3), **queueing.quota)
        for name, share in sorted(shares.items())
    )


def shares_of(work: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Each quota's share of all work. work: (quota, device-seconds). Equal shares where there is no work at all."""
    sums: dict[str, float] = {}
    for name, amount in work:
        sums[name] = sums.get(name, 0.0) + amount
    total = sum(sums.values())
    return {name: amount / total if total else 1 / len(sums) for name, amount in sums.items()}
