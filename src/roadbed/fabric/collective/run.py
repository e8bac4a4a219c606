"""Prices collectives on a network: which connection takes which links, what rate that leaves, how long it takes.

A collective is a pipeline of two stages, the copy (or reduction) loop inside servers and the network between them; a
transfer takes the slower stage. With L the empty message's latency, K and N what the bytes take in each stage alone:

    ring      max(K, N, L + max(K, N) / 2)     n − 1 steps in lock-step, each forwarded after half a chunk
    tree      max((√L + √K)², L + N)           chunks of optimal size through a pipeline of depth L; cards run ahead
    messages  L + max(K, N)

The ring's form is that of chunks cut in two slices (NCCL, Simple): a step ends when its chunk is sent, but not before
a slice has arrived. The tree's is the classical optimum over the number m of chunks of (L/D)(D + m) + (K/m)(D + m) for
depth D (Sanders et al. 2009). The network's share scales with the size, so one solution serves all sizes.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric import constants
from roadbed.fabric.base import Bools, Fabric, Floats, Health, Ints, LinkKind
from roadbed.fabric.collective.base import BUS_FACTOR, MAX_BYTES, Op, Ranks, Traffic
from roadbed.fabric.hashing import HashModel
from roadbed.fabric.maxmin import Sessions, share
from roadbed.fabric.paths import Paths, Policy, choose
from roadbed.fabric.routes import Routes

TOGETHER = 0.02
"""Of the time since the beginning."""


class Job(msgspec.Struct, frozen=True):
    """One collective of several at the same time."""

    op: Op
    ranks: Ranks
    traffic: Traffic


class Priced(msgspec.Struct, frozen=True):
    """What a job costs on this network beside the others. Per byte of the operation."""

    latency_s: float
    kernel_s_per_byte: float
    """Inside servers."""
    net_s_per_byte: float
    """Between servers: its last session."""
    form: str
    bottleneck: int
    """The link that held its slowest session; −1 without network."""


class Solution(msgspec.Struct, frozen=True):
    """Jobs priced together."""

    jobs: list[Priced]
    link_bytes: Floats
    """[L] Bytes over each link while every job moves one byte of its operation."""


class PathOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How connections choose their way."""

    policy: Policy = "ecmp"
    qps: int = 2
    """Queue pairs per connection; messages are cut evenly between them."""
    seed: int = 0
    draws: int = 1
    """Sets of source ports to average over."""
    hash: HashModel = HashModel()
    weights: tuple[float, ...] = ()
    """Per job: its intensity, for `planned`."""


def time_s(priced: Priced, size: float) -> float:
    """Seconds for this many bytes; UsageError on a size that is not positive or absurd."""
    if not 0 < size <= MAX_BYTES or not math.isfinite(size):
        raise UsageError(f"{size:g} bytes: sizes are above 0 and at most {MAX_BYTES}", field="bytes")
    kernel, net, latency = priced.kernel_s_per_byte * size, priced.net_s_per_byte * size, priced.latency_s
    if priced.form == "tree":
        return max((math.sqrt(latency) + math.sqrt(kernel)) ** 2, latency + net)
    slower = max(kernel, net)
    return max(slower, latency + slower / 2) if priced.form == "ring" else latency + slower


def busbw(op: Op, num_ranks: int, size: float, seconds: float) -> float:
    """Bytes per second, comparable between operations (nccl-tests)."""
    return size / seconds * BUS_FACTOR[op](num_ranks)


def price(
    fabric: Fabric, jobs: Sequence[Job], options: PathOptions | None = None, health: Health | None = None
) -> Solution:
    """Prices jobs that run at the same time, in order. Raises UsageError when ranks can't reach each other."""
    chosen = options or PathOptions()
    if chosen.draws > 1:
        one = msgspec.structs.replace(chosen, draws=1)
        drawn = [price(fabric, jobs, _seeded(one, at), health) for at in range(chosen.draws)]
        return _mean(drawn)
    state = health or Health.of(fabric)
    paths, owner = _paths(fabric, state, jobs, chosen)
    sessions, session_job, per_byte = _sessions(fabric, jobs, paths, owner, chosen.qps)
    finish, held_by = _finish(goodput(fabric, state), sessions, per_byte)
    extra = _extra_latency(jobs, paths, owner[0], chosen.qps)
    scale_up = scale_up_rate(fabric)
    bounds = np.searchsorted(session_job, np.arange(len(jobs) + 1))
    out = []
    for at, job in enumerate(jobs):
        low, high = int(bounds[at]), int(bounds[at + 1])
        slowest = low + int(np.argmax(finish[low:high])) if high > low else -1
        out.append(
            Priced(
                latency_s=constants.BASE_S + job.traffic.latency_s + job.traffic.num_net_steps * float(extra[at]),
                kernel_s_per_byte=_kernel(job, scale_up),
                net_s_per_byte=float(finish[slowest]) if slowest >= 0 else 0.0,
                form=job.traffic.form,
                bottleneck=int(held_by[slowest]) if slowest >= 0 else -1,
            )
        )
    entry = np.repeat(per_byte, np.diff(sessions.start)) * sessions.count
    return Solution(out, _sum_by(sessions.link, entry, fabric))


class Prepared(msgspec.Struct, frozen=True):
    """Sessions of jobs, for a simulation over time."""

    sessions: Sessions
    """Their cap is the rate at which servers can take data in and out."""
    job: Ints
    """[sessions] Whose."""
    bytes_per_byte: Floats
    """[sessions] What a member sends per byte of the job's operation."""
    latency_s: Floats
    """[sessions] Before the first byte of an operation has come all the way."""


def prepare(
    fabric: Fabric, jobs: Sequence[Job], options: PathOptions | None = None, health: Health | None = None
) -> Prepared:
    """The jobs' sessions on their paths, not priced: who runs when is up to the simulation."""
    chosen = options or PathOptions()
    paths, owner = _paths(fabric, health or Health.of(fabric), jobs, chosen)
    sessions, job, per_byte = _sessions(fabric, jobs, paths, owner, chosen.qps)
    extra = _extra_latency(jobs, paths, owner[0], chosen.qps)
    scale_up = scale_up_rate(fabric)
    kernel = np.array([_kernel(one, scale_up) for one in jobs])
    latency = np.array([constants.BASE_S + one.traffic.latency_s for one in jobs])
    latency += extra * np.array([one.traffic.num_net_steps for one in jobs])
    with np.errstate(divide="ignore"):
        cap = np.where(kernel[job] > 0, per_byte / kernel[job], np.inf)
    limited = Sessions(start=sessions.start, link=sessions.link, count=sessions.count, cap=cap)
    return Prepared(limited, job, per_byte, latency[job])


def _seeded(options: PathOptions, draw: int) -> PathOptions:
    return msgspec.structs.replace(options, seed=options.seed + draw)


def _mean(drawn: list[Solution]) -> Solution:
    """Mean times of several draws; loads and bottlenecks are the first one's."""
    jobs = [
        msgspec.structs.replace(
            drawn[0].jobs[at],
            net_s_per_byte=sum(one.jobs[at].net_s_per_byte for one in drawn) / len(drawn),
            latency_s=sum(one.jobs[at].latency_s for one in drawn) / len(drawn),
        )
        for at in range(len(drawn[0].jobs))
    ]
    return Solution(jobs, drawn[0].link_bytes)


def goodput(fabric: Fabric, health: Health) -> Floats:
    """[L] What a link carries of payload now; 0 where it is down."""
    factor = np.full(fabric.num_links, constants.NIC_EFFICIENCY)
    factor[fabric.link_kind == LinkKind.SCALE_UP] = constants.SCALE_UP_EFFICIENCY
    factor[fabric.link_kind == LinkKind.PCIE] = 1.0
    found: Floats = np.where(health.link_up, health.capacity * factor, 0.0)
    return found


def _paths(
    fabric: Fabric, health: Health, jobs: Sequence[Job], options: PathOptions
) -> tuple[Paths, tuple[Ints, Ints]]:
    """Paths of all connections of all jobs, and (job, session) of each."""
    src = np.concatenate([job.traffic.src for job in jobs])
    dst = np.concatenate([job.traffic.dst for job in jobs])
    num = [len(job.traffic.src) for job in jobs]
    job_of = np.repeat(np.arange(len(jobs), dtype=np.int32), num)
    base = np.cumsum([0] + [job.traffic.num_sessions for job in jobs])[:-1]
    session = np.concatenate([job.traffic.session + first for job, first in zip(jobs, base, strict=True)])
    weights = options.weights or (1.0,) * len(jobs)
    bytes_of = np.concatenate([job.traffic.share[job.traffic.session] for job in jobs])
    paths = choose(
        Routes(fabric, health),
        fabric.gpu_nic[src],
        fabric.gpu_nic[dst],
        policy=options.policy,
        qps=options.qps,
        seed=options.seed,
        hash=options.hash,
        weight=bytes_of * np.asarray(weights)[job_of],
    )
    lost = np.flatnonzero(np.diff(paths.start) == 0)
    stuck = lost[src[lost // options.qps] != dst[lost // options.qps]]
    if len(stuck):
        at = int(stuck[0]) // options.qps
        cards = [fabric.node_name(int(fabric.gpu_nic[end[at]])) for end in (src, dst)]
        raise UsageError(
            f"gpu-{src[at]} can't reach gpu-{dst[at]}: no working path from {cards[0]} to {cards[1]}",
            hint="roadbed fabric check --fabric …",
            field="gpus",
        )
    return paths, (job_of, session.astype(np.int32))


def _sessions(
    fabric: Fabric, jobs: Sequence[Job], paths: Paths, owner: tuple[Ints, Ints], qps: int
) -> tuple[Sessions, Ints, Floats]:
    """Members of every session on every link, the job of each session, and a member's bytes per byte of its job."""
    num_sessions = sum(job.traffic.num_sessions for job in jobs)
    session_job = np.repeat(np.arange(len(jobs), dtype=np.int32), [job.traffic.num_sessions for job in jobs])
    per_byte = np.concatenate([job.traffic.share for job in jobs]) / qps if jobs else np.zeros(0)
    lengths = np.diff(paths.start)
    flow_session = np.repeat(owner[1], qps)
    entry_session = np.repeat(flow_session, lengths).astype(np.int64)
    src = np.concatenate([job.traffic.src for job in jobs])
    dst = np.concatenate([job.traffic.dst for job in jobs])
    up, down = _pcie(fabric)
    links = np.concatenate([paths.link, np.repeat(up[src], qps), np.repeat(down[dst], qps)])
    whose = np.concatenate([entry_session, flow_session, flow_session])
    count = np.concatenate([paths.share, np.ones(2 * len(flow_session))])
    known = links >= 0
    key = whose[known] * fabric.num_links + links[known]
    unique, inverse = np.unique(key, return_inverse=True)
    total = np.bincount(inverse, weights=count[known], minlength=len(unique))
    start = np.searchsorted(unique, np.arange(num_sessions + 1, dtype=np.int64) * fabric.num_links)
    sessions = Sessions(
        start=start.astype(np.int32),
        link=(unique % fabric.num_links).astype(np.int32),
        count=total.astype(np.float64),
        cap=np.full(num_sessions, np.inf),
    )
    return sessions, session_job, per_byte


def _pcie(fabric: Fabric) -> tuple[Ints, Ints]:
    """[num_gpus] the link from each GPU to its card and the one back; −1 where the fabric draws none."""
    up = np.full(fabric.num_nodes, -1, np.int32)
    down = np.full(fabric.num_nodes, -1, np.int32)
    pcie = np.flatnonzero(fabric.link_kind == LinkKind.PCIE).astype(np.int32)
    leaving: Bools = fabric.src[pcie] < fabric.num_gpus
    up[fabric.src[pcie[leaving]]] = pcie[leaving]
    down[fabric.dst[pcie[~leaving]]] = pcie[~leaving]
    return up[: fabric.num_gpus], down[: fabric.num_gpus]


def _finish(capacity: Floats, sessions: Sessions, amount: Floats) -> tuple[Floats, Ints]:
    """When each session is done with its member's bytes if all begin together, and the fullest link of its last round.

    Rates are solved again whenever sessions finish. Those that finish within TOGETHER of each other keep their rates to
    their own end: in symmetric networks they are many, and what they would leave to each other is less than that.
    """
    num = len(amount)
    left = amount.astype(np.float64).copy()
    finish, held_by = np.zeros(num), np.full(num, -1, np.int32)
    active = np.flatnonzero(left > 0).astype(np.int32)
    now = 0.0
    while len(active):
        some = sessions.taken(active) if len(active) < num else sessions
        rate = share(capacity, some)
        if (rate <= 0).any():
            raise UsageError("a link on the only path has no capacity", field="fabric")
        _blame(capacity, some, rate, active, held_by)
        needs = left[active] / rate
        step = float(needs.min())
        done = needs <= step + TOGETHER * (now + step)
        finish[active[done]] = now + needs[done]
        now += step
        left[active] -= rate * step
        active = active[~done]
    return finish, held_by


def _blame(capacity: Floats, some: Sessions, rate: Floats, active: Ints, held_by: Ints) -> None:
    """Writes, for every active session, its link with the least room left."""
    lengths = np.diff(some.start)
    per_entry = np.repeat(rate, lengths) * some.count
    used = np.bincount(some.link, weights=per_entry, minlength=len(capacity))
    full = (used / np.maximum(capacity, 1e-300))[some.link]
    busy = lengths > 0
    most = np.repeat(np.maximum.reduceat(full, some.start[:-1][busy]), lengths[busy]) if busy.any() else full
    hits = np.flatnonzero(full >= most)
    owner = np.repeat(np.arange(len(active)), lengths)[hits]
    first = np.searchsorted(owner, np.flatnonzero(busy))
    held_by[active[busy]] = some.link[hits[first]]


def _sum_by(link: Ints, amount: Floats, fabric: Fabric) -> Floats:
    return np.bincount(link, weights=amount, minlength=fabric.num_links).astype(np.float64)


def _extra_latency(jobs: Sequence[Job], paths: Paths, job_of: Ints, qps: int) -> Floats:
    """[jobs] What one network step takes beyond one switch: on average around a ring, at worst for the rest."""
    beyond = np.maximum(paths.latency_s - constants.STEP_HOPS * constants.NIC_LATENCY_S, 0.0)
    owner = np.repeat(job_of, qps)
    worst = np.zeros(len(jobs))
    np.maximum.at(worst, owner, beyond)
    total = np.bincount(owner, weights=beyond, minlength=len(jobs))
    mean = total / np.maximum(np.bincount(owner, minlength=len(jobs)), 1)
    found: Floats = np.where([job.traffic.form == "ring" for job in jobs], mean, worst)
    return found


def scale_up_rate(fabric: Fabric) -> Floats:
    """[num_gpus] Raw bytes per second from each GPU to its scale-up switch; 0 without one."""
    links = np.flatnonzero((fabric.link_kind == LinkKind.SCALE_UP) & (fabric.src < fabric.num_gpus))
    rate = np.zeros(fabric.num_gpus)
    rate[fabric.src[links]] = fabric.capacity[links]
    return rate


def _kernel(job: Job, scale_up: Floats) -> float:
    """Seconds per byte inside a server."""
    if job.traffic.scale_up_share == 0.0:
        return 0.0
    slowest = float(scale_up[job.ranks.gpus].min())
    if slowest == 0.0:
        raise UsageError("ranks of one server have no scale-up link between them", field="gpus")
    return job.traffic.scale_up_share / (slowest * job.traffic.scale_up_efficiency)
