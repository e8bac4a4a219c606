"""What to run and with what: fleets of replicas from a profile, one run as a picklable value, and what to warn of.

Kept apart from the command line so that benches and tests start runs the same way.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.profiles.model import StepTimer
from roadbed.profiles.profile import Profile
from roadbed.twin.serve import GATED, Server, Settings, World, idle_ttft_s
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_figures import Row, priced, row, scaled, spread
from roadbed.twin.serve_fleet import Fleet, Group, hourly, labels, num_replicas, one_more, written
from roadbed.twin.serve_fleet_scale import Scaling, Tally
from roadbed.twin.serve_split import Split, SplitWorld
from roadbed.twin.serve_trace import Trace

DEFAULT_BLOCK_TOKENS = 16


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a sweep. profile: key into the shared profiles; fleet: several of those, instead of `replicas` of
    one. cost_per_hour: CNY of one replica where no fleet is given. scaling: how the fleet may change, whatever
    `replicas` says."""

    policy: str
    replicas: int
    speedup: float
    profile: str = ""
    seed: int = 0
    samples: bool = False
    fleet: Fleet = ()
    cost_per_hour: float = 0.0
    scaling: Scaling | None = None
    split: Split | None = None
    """Prefill and decode apart; None: every replica does both."""
    is_reference: bool = False
    """A fixed fleet beside autoscaled ones: its row counts device-hours, too."""
    change: str = ""
    base: str = ""

    @property
    def groups(self) -> Fleet:
        """What there is, one kind or several."""
        num = self.replicas if self.scaling is None else 1
        return self.fleet or (Group(profile=self.profile, num=num, cost_per_hour=self.cost_per_hour),)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Engine limits as asked for; 0 = what the profile and the trace suggest."""

    kv_blocks: int = 0
    block_tokens: int = 0
    max_batched_tokens: int = 8192
    max_seqs: int = 256
    tp: int = 0
    max_adapters: int = 4
    adapter_load_s: float = 0.5


def limits_for(profile: Profile, trace: Trace, asked: Asked) -> Limits:
    """Engine limits: block size of the trace's hashes, capacity of the profile. UsageError for a budget too small."""
    if asked.max_batched_tokens < asked.max_seqs:
        raise UsageError(
            f"--max-batched-tokens {asked.max_batched_tokens} is below --max-seqs {asked.max_seqs}:"
            " every sequence needs a token per iteration",
            hint=f"roadbed twin serve --max-batched-tokens {asked.max_seqs}", field="max-batched-tokens",
        )  # fmt: skip
    block_tokens = asked.block_tokens or trace.block_tokens or DEFAULT_BLOCK_TOKENS
    return Limits(
        kv_blocks=asked.kv_blocks or max(1, profile.variant(asked.tp).kv_tokens // block_tokens),
        block_tokens=block_tokens, max_batched_tokens=asked.max_batched_tokens, max_seqs=asked.max_seqs,
        max_adapters=asked.max_adapters, adapter_load_s=asked.adapter_load_s,
    )  # fmt: skip


def servers_for(groups: Fleet, profiles: Mapping[str, Profile], trace: Trace, asked: Asked) -> list[Server]:
    """Replicas of a fleet, in the order it is written. UsageError as for `limits_for`, or a degree nobody measured."""
    found = []
    for group in groups:
        profile = profiles[group.profile]
        server = Server(
            step=profile.variant(asked.tp).step, limits=limits_for(profile, trace, asked),
            devices=asked.tp or profile.tp, cost_per_hour=group.cost_per_hour,
            model=profile.model,
        )  # fmt: skip
        found += [server] * group.num
    return found


def one(shared: Mapping[str, Any], run: Run) -> Row:
    """Carries a run out. shared: trace, profiles by name, asked, settings."""
    trace: Trace = shared["trace"]
    settings: Settings = msgspec.structs.replace(
        shared["settings"], policy=run.policy, speedup=run.speedup, seed=run.seed, samples=run.samples
    )
    servers = servers_for(run.groups, shared["profiles"], trace, shared["asked"])
    if run.split is not None:
        return divided(run, run.split, trace, servers, settings)
    began = time.perf_counter()
    outcomes = World(trace, servers, settings, run.scaling).run()
    found = row(
        outcomes, router=run.policy, replicas=len(servers) if outcomes.tally is None else outcomes.tally.peak,
        speedup=run.speedup, kv_blocks=min(server.limits.kv_blocks for server in servers),
        wall_s=time.perf_counter() - began, slo_ttft_s=settings.slo_ttft_s, slo_itl_s=settings.slo_itl_s,
    )  # fmt: skip
    found.seed, found.profile, found.change, found.base = run.seed, run.profile, run.change, run.base
    if run.fleet:
        found.fleet, found.labels = written(run.fleet), labels(run.fleet)
    _count_cost(found, run, servers, outcomes.tally)
    return found


def divided(run: Run, split: Split, trace: Trace, servers: Sequence[Server], settings: Settings) -> Row:
    """A run with prefill and decode on servers of their own."""
    step, limits = servers[0].step, servers[0].limits
    began = time.perf_counter()
    world = SplitWorld(trace, StepTimer(step), limits, len(servers), settings, split)
    found = row(
        world.run(), router=run.policy, replicas=len(servers), speedup=run.speedup, kv_blocks=limits.kv_blocks,
        wall_s=time.perf_counter() - began, slo_ttft_s=settings.slo_ttft_s, slo_itl_s=settings.slo_itl_s,
    )  # fmt: skip
    found.seed, found.profile, found.change, found.base = run.seed, run.profile, run.change, run.base
    found.split = split.written(len(servers))
    found.role_changes, found.kv_moved_bytes = world.num_changes, world.links.moved_bytes
    found.transfer_s = spread(np.array(world.links.seconds, np.float64))
    _count_cost(found, run, servers, None)
    return found


def _count_cost(found: Row, run: Run, servers: Sequence[Server], tally: Tally | None) -> None:
    if tally is None:
        priced(found, hourly(run.groups))
        tally = Tally(replica_s=len(servers) * found.makespan_s, peak=len(servers)) if run.is_reference else None
    if tally is not None:
        name = "fixed" if run.scaling is None else run.scaling.autoscaler
        scaled(found, tally, autoscaler=name, devices=servers[0].devices, cost_per_hour=servers[0].cost_per_hour)
        found.target = None if run.scaling is None else run.scaling.target


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest fixed fleets of 1..num_max whose goodput is at least each of `wanted`: (share, for whom)."""

    run: Run
    num_max: int
    wanted: tuple[tuple[float, str], ...]


def smallest(shared: Mapping[str, Any], question: Question) -> list[Row]:
    """Those fleets' rows, none twice, `change` naming for whom; missing where even the largest does not get there.

    Halving takes it that more replicas never do worse; where the router's luck says otherwise it may be off by one.
    """
    rows: dict[int, Row] = {}
    base = msgspec.structs.replace(question.run, fleet=(), scaling=None, is_reference=True, samples=False)

    def share_of(num: int) -> float:
        if num not in rows:
            rows[num] = one(shared, msgspec.structs.replace(base, replicas=num))
        return rows[num].goodput_share

    answers: dict[int, list[str]] = {}
    for share, whom in question.wanted:
        low, high = 0, question.num_max
        if share_of(high) < share:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if share_of(middle) >= share else (middle, high)
        answers.setdefault(high, []).append(whom)
    for num, names in answers.items():
        rows[num].change = f"as good as {', '.join(names)}"
    return [rows[num] for num in sorted(answers)]


def what_ifs(runs: Sequence[Run], swap: Group | None) -> list[Run]:
    """For every router at the highest load: one replica more (of each kind) for the largest fleet of one chip and for
    each mixed one, and `swap`'s chip for these and for every autoscaled fleet."""
    found: list[Run] = []
    fastest = max((run.speedup for run in runs), default=0.0)
    top = [run for run in runs if run.speedup == fastest and not run.is_reference and run.split is None]
    most = max((run.replicas for run in top if not run.fleet and run.scaling is None), default=0)
    for run in top:
        if run.scaling is None and not run.fleet and run.replicas != most:
            continue
        base = msgspec.structs.replace(run, samples=False)
        if run.fleet:
            found += [msgspec.structs.replace(base, fleet=fleet, change=words) for words, fleet in one_more(run.fleet)]
        elif run.scaling is None:
            found.append(msgspec.structs.replace(base, replicas=run.replicas + 1, change="+1 replica"))
        if swap is not None and [group.profile for group in run.groups] != [swap.profile]:
            found.append(_swapped(base, swap))
    return found


def _swapped(run: Run, swap: Group) -> Run:
    return msgspec.structs.replace(
        run, fleet=(), replicas=num_replicas(run.groups), profile=swap.profile, cost_per_hour=swap.cost_per_hour,
        change=f"on {swap.profile}",
    )  # fmt: skip


def warnings(trace: Trace, profile: Profile, asked: Asked, settings: Settings) -> list[str]:
    """What a reader of the figures must know: extrapolation, guesses, promises nobody can keep."""
    limits = limits_for(profile, trace, asked)
    variant = profile.variant(asked.tp)
    said = list(trace.notes)
    if trace.adapters:
        said.append(
            f"{len(trace.adapters)} adapters: {limits.max_adapters} at once on a replica, loading one is taken to cost"
            f" {limits.adapter_load_s:g} s"
        )
    if not profile.measured:
        said.append(f"profile {profile.name}: {profile.fit}")
    longest = max(prompt + out for prompt, out in zip(trace.prompt_tokens, trace.output_tokens, strict=True))
    beyond = variant.ranges.beyond(
        chunk_tokens=min(limits.max_batched_tokens, max(trace.prompt_tokens)), context_tokens=longest,
        sequences=limits.max_seqs,
    )  # fmt: skip
    if beyond:
        said.append(f"profile {profile.name}: extrapolated where there is {', '.join(beyond)}")
    capacity = limits.kv_blocks * limits.block_tokens
    large = _first(trace, lambda at: trace.prompt_tokens[at] + trace.output_tokens[at] > capacity)
    if large:
        said.append(f"request {large[0] + 1}: longer than the KV cache of {capacity:,} tokens; {large[1]} such, shed")
    return said + _impossible(trace, variant.step, limits, settings)


def _impossible(trace: Trace, step: Any, limits: Limits, settings: Settings) -> list[str]:
    """Requests whose SLO an idle engine misses."""
    said = []
    if settings.slo_ttft_s is not None:
        slo_s = settings.slo_ttft_s
        known = {size: idle_ttft_s(step, limits, size) for size in set(trace.prompt_tokens)}
        late = _first(trace, lambda at: known[trace.prompt_tokens[at]] > slo_s)
        if late:
            tokens = trace.prompt_tokens[late[0]]
            words = f"{tokens:,} tokens take an idle engine {known[tokens]:.2f} s to the first token"
            said.append(f"request {late[0] + 1}: {words}, TTFT SLO {slo_s:g} s; {late[1]} such without a cached prefix")
    if settings.slo_itl_s is not None:
        alone_s = step.fixed_s + step.dense.at(1) + step.head.at(1) + step.collective.at(1) + step.decode_base.at(1)
        if alone_s > settings.slo_itl_s:
            words = f"a token takes an idle engine {alone_s * 1e3:.1f} ms"
            said.append(f"request 1: {words}, ITL SLO {settings.slo_itl_s * 1e3:g} ms: no request can meet it")
    return said


def _first(trace: Trace, is_one: Any) -> tuple[int, int] | None:
    """(index of the first, how many) of the requests that are so; None when none is."""
    found = [at for at in range(len(trace)) if is_one(at)]
    return (found[0], len(found)) if found else None


def base_of(policy: str) -> str:
    """`roadbed+open` → `roadbed`. UsageError for a suffix nobody knows."""
    name, plus, mode = policy.partition("+")
    if plus and mode not in ("gate", "open"):
        raise UsageError(
            f"router {policy!r}: +{mode} is neither +gate (behind the gateway's admission; {', '.join(GATED)} is) nor"
            " +open (sent at once)",
            hint=f"roadbed twin serve --router {name}", field="router",
        )  # fmt: skip
    return name
