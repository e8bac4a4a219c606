"""A collective in a loop, and what a fault does to it second by second.

One job repeats one collective, as training does, while links break and heal. Its connections go where the routes lead;
when a link breaks they stay on it, sending into the void, until the routes have converged, and a connection no way is
left for stays there until the repair. Because a ring moves as fast as its slowest edge and an iteration ends with its
last ring, one dead port can stop all of it: that is what a second ToR is for.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Floats, Health, Ints, LinkKind
from roadbed.fabric.collective.base import Op, Traffic, ranks_of
from roadbed.fabric.collective.chooser import algorithms, traffic_of
from roadbed.fabric.collective.run import Job, PathOptions, goodput, price
from roadbed.fabric.constants import CONVERGENCE_S, RDMA_GIVES_UP_S
from roadbed.fabric.faults import Event, Fault, schedule
from roadbed.fabric.flows import Flows, Moves, Outcome, Wide, simulate
from roadbed.fabric.maxmin import Sessions
from roadbed.fabric.paths import Paths, choose
from roadbed.fabric.routes import Routes

MAX_FOR_S = 100_000.0
MAX_ITERATIONS = 200_000
"""More would take longer to simulate than anybody waits."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the job."""

    fabric: str
    op: str
    algorithm: str
    gpus: int
    bytes: int
    """Of one iteration."""
    dual_tor: bool
    events: list[tuple[float, str]]
    """(time, words)."""
    seconds: list[float]
    """Mean bytes/s between servers in each second (the last may be shorter)."""
    before: float
    """Mean bytes/s until the first fault."""
    during: float
    """… from there until everything is repaired and the routes have followed; nan where nothing broke."""
    after: float
    """… from there to the end; nan where it is never all repaired."""
    rerouted: float
    """… once the routes have followed the first fault, until anything else happens; nan where nothing broke."""
    stalled_s: float
    """While some connection that wanted to send could not send a byte."""
    longest_stall_s: float
    job_lost_s: float | None
    """When RDMA would have given a connection up, and the job with it; None = it survives."""
    iterations: int
    iteration_s: float
    """Of a healthy one; nan where none was finished before the first fault."""
    cut_off: int
    """Most connections without any working way, after any convergence."""
    peak_queue_bytes: float
    """Largest estimate at any port between switches and cards."""
    peak_queue_link: str
    num_events: int


class Loop:
    """The job: hands over an iteration's sessions when the last iteration is there; moves them when routes change."""

    def __init__(self, routes: Routes, traffic: Traffic, options: PathOptions, size: float, gap_s: float) -> None:
        self.routes, self.traffic, self.options = routes, traffic, options
        self.num = traffic.num_sessions
        self.size = traffic.share * size / options.qps
        self.cap = np.full(self.num, np.inf)
        self.gap_s = gap_s
        self.cut_off = 0
        self.starts: list[float] = []
        self._open = 0
        self._ways: list[tuple[Ints, Floats]] = []
        self.sessions, self.latency_s = self._place()
        self.members = np.bincount(np.repeat(traffic.session, options.qps), minlength=self.num).astype(np.float64)

    def next(self, now_s: float, finished: Wide) -> Flows | None:
        """The next iteration, once all sessions of the last are there."""
        self._open -= len(finished)
        if self._open > 0:
            return None
        self.starts.append(now_s)
        self._open = self.num
        return Flows.of(self.sessions, self.size, latency_s=self.latency_s, delay_s=self.gap_s)

    def reroute(self, now_s: float, health: Health, flows: Wide) -> Moves | None:
        """The routes follow the links; sessions whose links differ then move."""
        mine = self.routes.health
        changed = np.flatnonzero((mine.link_up != health.link_up) | (mine.capacity != health.capacity))
        mine.link_up[:], mine.capacity[:] = health.link_up, health.capacity
        if not self.routes.update(changed.tolist()):
            return None
        old = self.sessions
        self.sessions, self.latency_s = self._place()
        moved = flows[[_differ(old, self.sessions, one) for one in (flows % self.num).tolist()]]
        which = moved % self.num
        return Moves(flows=moved, sessions=_some(self.sessions, which), latency_s=self.latency_s[which])

    def _place(self) -> tuple[Sessions, Floats]:
        """Sessions over the ways there are now. Who has none keeps the way it had."""
        fabric, traffic, qps = self.routes.fabric, self.traffic, self.options.qps
        paths = choose(
            self.routes, fabric.gpu_nic[traffic.src], fabric.gpu_nic[traffic.dst], policy=self.options.policy, qps=qps,
            seed=self.options.seed, hash=self.options.hash, weight=traffic.share[traffic.session],
        )  # fmt: skip
        link, share, owner = self._ways_of(paths)
        self.cut_off = max(self.cut_off, len(paths.lost))
        session = np.repeat(traffic.session, qps)
        key = session[owner].astype(np.int64) * fabric.num_links + link
        names, which = np.unique(key, return_inverse=True)
        start = np.searchsorted(names, np.arange(self.num + 1) * fabric.num_links).astype(np.int32)
        sessions = Sessions(
            start=start, link=(names % fabric.num_links).astype(np.int32),
            count=np.bincount(which, share, len(names)).astype(np.float64), cap=self.cap,
        )  # fmt: skip
        latency = np.zeros(self.num)
        np.maximum.at(latency, session, paths.latency_s)
        return sessions, latency

    def _ways_of(self, paths: Paths) -> tuple[Ints, Floats, Wide]:
        """(link, share, connection) of all entries, the last known ones where there is no way."""
        ways = [
            (paths.links_of(at), paths.share[paths.start[at] : paths.start[at + 1]]) for at in range(len(paths.hops))
        ]
        for at in paths.lost.tolist():
            if not self._ways:
                name = self.routes.fabric.node_name(int(self.traffic.src[at // self.options.qps]))
                raise UsageError(
                    f"{name} can't reach its neighbour in the collective before anything breaks",
                    hint="roadbed fabric check --fabric …", field="gpus",
                )  # fmt: skip
            ways[at] = self._ways[at]
        self._ways = ways
        owner = np.repeat(np.arange(len(ways)), [len(links) for links, _ in ways])
        return np.concatenate([links for links, _ in ways]), np.concatenate([share for _, share in ways]), owner


def run(
    fabric: Fabric,
    faults: Sequence[Fault],
    *,
    gpus: Ints,
    op: Op = "allreduce",
    algorithm: str | None = None,
    size: int = 1 << 30,
    for_s: float = 60.0,
    options: PathOptions | None = None,
    convergence_s: float = CONVERGENCE_S,
    health: Health | None = None,
) -> Outage:
    """Loops the collective for `for_s` seconds under these faults. algorithm: a ring by default, or the usual one where
    no ring does this. health: what is broken before it begins. UsageError names what is out of range."""
    if not 0 < for_s <= MAX_FOR_S:
        raise UsageError(f"for is {for_s:g} s; it must be above 0 and at most {MAX_FOR_S:g}", field="for")
    late = next((fault for fault in faults if fault.at_s >= for_s), None)
    if late is not None:
        raise UsageError(f"{late.what} breaks at {late.at_s:g} s, after the end at {for_s:g} s", field="at")
    chosen = options or PathOptions()
    ranks = ranks_of(fabric, gpus)
    fitting = algorithms(fabric, op, ranks)
    traffic = traffic_of(fabric, op, ranks, algorithm or ("ring" if "ring" in fitting else fitting[0]))
    if traffic.num_sessions == 0:
        raise UsageError(f"{ranks.num} GPUs of one server send nothing over the network", field="gpus")
    state = health if health is not None else Health.of(fabric)
    loop = _loop(fabric, Job(op, ranks, traffic), chosen, size, for_s, state)
    events = schedule(fabric, faults, convergence_s)
    out = simulate(
        fabric, programs=[loop], events=events, rerouter=loop, capacity=goodput(fabric, Health.of(fabric)),
        health=state, until_s=for_s, watch=True,
    )  # fmt: skip
    return _outage(fabric, loop, (op, traffic.algorithm, ranks.num, size), events, out)


def _loop(fabric: Fabric, job: Job, options: PathOptions, size: int, for_s: float, health: Health) -> Loop:
    """The job as a program, its pace inside servers taken from what the collective costs there."""
    one = msgspec.structs.replace(options, draws=1)
    priced = price(fabric, [job], one, health).jobs[0]
    per_byte = max(priced.kernel_s_per_byte, priced.net_s_per_byte)
    if for_s / max(priced.latency_s + per_byte * size, 1e-12) > MAX_ITERATIONS:
        raise UsageError(
            f"{size:,} bytes make more than {MAX_ITERATIONS:,} iterations in {for_s:g} s", hint="--bytes 1G",
            field="bytes",
        )  # fmt: skip
    loop = Loop(Routes(fabric, health.copy()), job.traffic, one, size, priced.latency_s)
    if priced.kernel_s_per_byte > 0:
        loop.cap[:] = job.traffic.share / one.qps / priced.kernel_s_per_byte
    return loop


def _outage(fabric: Fabric, loop: Loop, what: tuple[str, str, int, int], events: list[Event], out: Outcome) -> Outage:
    weight = np.tile(loop.members, -(-len(out.start_s) // loop.num))[: len(out.start_s)]

    def mean(low: float, high: float) -> float:
        return float(out.throughput(np.array([low, high]), weight)[0]) if high > low else float("nan")

    end, times = out.end_s, [event.at_s for event in events]
    begins = min(times, default=end)
    follows = next((event.at_s for event in events if event.converged), end)
    heals = (
        max(times, default=end) if all(event.up and event.share == 1 for event in _last_state(events).values()) else end
    )
    next_s = min((at for at in times if at > follows), default=end)
    done = out.finish_s.reshape(-1, loop.num).max(axis=1) if len(out.finish_s) else np.zeros(0)
    spans = np.diff([0.0, *done[np.isfinite(done)].tolist()])
    healthy = spans[done[: len(spans)] <= begins]
    stalled, longest = out.stalled_s()
    network = np.where(fabric.link_kind >= LinkKind.ACCESS, out.peak_queue_bytes, 0.0)
    op, algorithm, gpus, size = what
    return Outage(
        fabric=fabric.name, op=op, algorithm=algorithm, gpus=gpus, bytes=size, dual_tor=fabric.traits.dual_tor,
        events=[(event.at_s, event.words) for event in events if event.at_s <= end],
        seconds=out.throughput(np.append(np.arange(0.0, end, 1.0), end), weight).tolist(),
        before=mean(0.0, begins), during=mean(begins, min(heals, end)), after=mean(min(heals, end), end),
        rerouted=mean(min(follows, end), min(next_s, end)), stalled_s=stalled, longest_stall_s=longest,
        job_lost_s=_lost_s(out), iterations=int(np.isfinite(done).sum()),
        iteration_s=float(healthy.mean()) if len(healthy) else float("nan"), cut_off=loop.cut_off,
        peak_queue_bytes=float(network.max(initial=0.0)), peak_queue_link=fabric.link_name(int(network.argmax())),
        num_events=out.num_events,
    )  # fmt: skip


def _last_state(events: Sequence[Event]) -> dict[int, Event]:
    """The last event of each link."""
    return {link: event for event in events for link in event.links.tolist()}


def _lost_s(out: Outcome) -> float | None:
    """When the first stretch without progress had lasted as long as RDMA waits."""
    since = -1.0
    for when, num in [*out.stalls, (out.end_s, 0)]:
        if since >= 0 and when - since >= RDMA_GIVES_UP_S:
            return since + RDMA_GIVES_UP_S
        if num and since < 0:
            since = when
        elif not num:
            since = -1.0
    return None


def _differ(old: Sessions, new: Sessions, at: int) -> bool:
    one, two = slice(old.start[at], old.start[at + 1]), slice(new.start[at], new.start[at + 1])
    return not (np.array_equal(old.link[one], new.link[two]) and np.array_equal(old.count[one], new.count[two]))


def _some(sessions: Sessions, which: Wide) -> Sessions:
    """These sessions, in this order."""
    parts = [np.arange(sessions.start[at], sessions.start[at + 1]) for at in which.tolist()]
    at = np.concatenate([np.zeros(0, np.int64), *parts])
    start = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return Sessions(start=start, link=sessions.link[at], count=sessions.count[at], cap=sessions.cap[which])
