"""What users wrote, as the scheduler sees it: services and tasks become jobs, quota documents become its tree. Pure."""

from collections.abc import Collection, Sequence

from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.task import TaskRow
from roadbed.hardware.chips import CPU
from roadbed.scheduler.base import Gang, Job, Shape, Topology
from roadbed.scheduler.quota import Quota
from roadbed.spec.quota import Quota as QuotaSpec
from roadbed.spec.service import Resources

DEFAULT_QUOTA = "default"
"""The root of what names no quota."""
FOR_EVER_S = 100 * 365 * 86400.0
"""How long a replica runs, as those who wait should see it: nothing is ever reserved behind it for soon."""
NO_CHIP = "none"
"""Stands for "any accelerator" where there is none: a chip no node has."""


def replica_job_id(replica: str) -> str:
    return f"replica/{replica}"


def task_job_id(task: str) -> str:
    return f"task/{task}"


def shape_of(need: Resources, chips: Collection[str], labels: dict[str, str] | None = None) -> Shape:
    """chips: kinds the machines have. "Any accelerator" never means `cpu`, which has to be asked for by name."""
    asked = need.accelerators
    kinds: tuple[str, ...] = ()
    if asked is not None:
        kinds = asked.chips or tuple(sorted(set(chips) - {"", CPU})) or (NO_CHIP,)
    return Shape(
        num_devices=asked.num if asked else 0,
        milli=asked.milli if asked else 1000,
        cpu_milli=round(need.cpu * 1000),
        memory_mib=-(-need.memory // 2**20),
        chips=kinds,
        min_device_mib=asked.min_memory_mib if asked else 0,
        max_device_mib=asked.max_memory_mib if asked else 0,
        labels=tuple(sorted((labels or {}).items())),
    )


def replica_job(row: ReplicaRow, chips: Collection[str]) -> Job:
    """One replica: never stopped for others, for it answers somebody."""
    return Job(
        id=replica_job_id(row.id),
        gang=Gang(shape=shape_of(row.spec.resources, chips)),
        quota=quota_name(row.spec.quota),
        priority=row.spec.priority,
        submit_s=row.created_at,
        preemptible=False,
        duration_s=FOR_EVER_S,
    )


def task_job(row: TaskRow, chips: Collection[str]) -> Job:
    """A task as it asks to run; an elastic one starts with its smallest size and may grow."""
    spec = row.spec
    gang = Gang(
        shape=shape_of(spec.resources, chips, spec.node_selector),
        num=spec.gang.min,
        max_num=spec.gang.max,
        topology=Topology(
            required=spec.topology.required,
            preferred=spec.topology.preferred,
            slices=tuple((one.each, one.within) for one in spec.topology.slices),
        ),
        mode=spec.placement,
    )
    return Job(
        id=task_job_id(row.name),
        gang=gang,
        quota=quota_name(spec.quota),
        priority=spec.priority,
        submit_s=row.submitted_at,
        preemptible=spec.preemptible,
        duration_s=spec.max_duration or 0.0,
        checkpoint_s=spec.checkpoint_every or 0.0,
        grace_s=spec.grace_period,
    )


def quota_name(path: str | None) -> str:
    """Names are unique in the tree, so the last part of a path says which quota it is."""
    return path.rpartition("/")[2] if path else DEFAULT_QUOTA


def quota_tree(specs: Sequence[QuotaSpec]) -> tuple[Quota, ...]:
    """The scheduler's tree; what names no quota has a root of its own, without guarantee or ceiling."""
    tree = [_quota(spec) for spec in specs]
    if not any(quota.name == DEFAULT_QUOTA for quota in tree):
        tree.append(Quota(name=DEFAULT_QUOTA))
    return tuple(tree)


def _quota(spec: QuotaSpec) -> Quota:
    shares = spec.resources
    return Quota(
        name=spec.name,
        parent=spec.parent or "",
        min={name: round(share.min * 1000) for name, share in shares.items() if share.min},
        max={name: round(share.max * 1000) for name, share in shares.items() if share.max is not None},
        weight=spec.weight,
        lending=spec.lending,
        preempt_siblings=spec.preemption.between_siblings,
        preempt_children=spec.preemption.of_children,
        strategy=spec.strategy,
        backfill=spec.backfill,
        half_life_s=spec.half_life or 0.0,
    )
