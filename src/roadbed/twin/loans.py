"""Training and a diurnal service on one pool: what lending the service's idle machines is worth.

Two worlds with the same machines, jobs and load. In the first the service keeps all it is guaranteed, day and night: a
static partition. In the second what its forecast does not need is lent to training and asked back in time. Compared are
the training jobs' queue time and JCT, the work that was lost by giving machines back, and the share of the service's
requests that suffered.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.scheduler.base import WHOLE
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.policies.registry import make_planner
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from roadbed.scheduler.target import target_of
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.kernel import Kernel
from roadbed.twin.metrics import Figures
from roadbed.twin.queueing import make_queueing, shares_of
from roadbed.twin.scenario import Settings, summary, to_asked, watch_fragments
from roadbed.twin.service import Load, Service, ServiceSpec
from roadbed.twin.trace import TraceJob
from roadbed.twin.world import World

STATIC, LOANS = "static", "loans"
ARRANGEMENTS = (STATIC, LOANS)


class LoansRow(msgspec.Struct, frozen=True):
    """One run. violations: share of the service's requests. num_returns: jobs stopped to give lent machines back.
    curve: (second, load, ready replicas) of the service, for plots."""

    arrangement: str
    seed: int
    figures: Figures
    violations: float
    num_returns: int
    curve: list[tuple[float, float, int]] = []


def run_loans(
    jobs: Sequence[TraceJob],
    nodes: Sequence[NodeInfo],
    curve: list[float],
    spec: ServiceSpec,
    arrangement: str,
    seed: int,
    settings: Settings,
    *,
    policy: str = "roadbed",
    pictures: bool = False,
) -> LoansRow:
    """One world to the end of its training jobs. nodes: of service and training together; the service is guaranteed its
    peak, training the rest. ValueError for an unknown arrangement, UsageError for an unknown policy."""
    if arrangement not in ARRANGEMENTS:
        raise ValueError(f"{arrangement!r} is neither of {', '.join(ARRANGEMENTS)}")
    queueing = make_queueing(policy)
    rng = np.random.default_rng(seed)
    state = State([nodes[at] for at in rng.permutation(len(nodes))])
    per_node = int(state.num_devices.max(initial=0))
    asked = [to_asked(job, per_node, settings, job.quota) for job in jobs]
    target = target_of(job.gang.shape for job, _ in asked)
    planner = make_planner(queueing.placement, state, target, rng)
    served = spec.peak * spec.devices * WHOLE
    quotas = [_service_quota(spec, served, lending=arrangement == LOANS)]
    for name, share in sorted(shares_of([(job.quota, job.device_s) for job in jobs]).items()):
        low = int(share * (state.total_milli - served))
        quotas.append(Quota(name=name, min={"gpu": low}, weight=max(share, 1e-3), **queueing.quota))
    config = msgspec.structs.replace(queueing.config, lead_s=_lead_s(spec, queueing.config))
    world = World(Scheduler(state, planner, quotas, config), Kernel(), settings.times)
    service = Service(world, Load(curve, spec, seed))
    service.start()
    until_s = max(job.submit_s for job in jobs)
    world.load(asked)
    fragments = watch_fragments(world, [job for job, _ in asked], until_s)
    world.kernel.run()
    row = summary(world, arrangement, seed, until_s, fragments, pictures=False)
    shown = service.curve if pictures else []
    return LoansRow(arrangement, seed, row.figures, service.violations, world.loan_stops, shown)


def _service_quota(spec: ServiceSpec, milli: int, *, lending: bool) -> Quota:
    guarantee = {"gpu": milli}
    return Quota(name=spec.name, min=guarantee, max=guarantee, lending=lending, strategy="fifo", backfill="off")


def _lead_s(spec: ServiceSpec, config: Config) -> float:
    """How far ahead the service's need is looked at: grace of what must leave, and the time a replica takes."""
    return max(config.lead_s, 30.0 + spec.ready_s + 2 * spec.step_s)
