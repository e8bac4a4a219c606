"""What to run and with what: fleets of replicas from a profile, one run as a picklable value, and what to warn of.

Kept apart from the command line so that benches and tests start runs the same way.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from roadbed.errors import UsageError
from roadbed.profiles.profile import Profile
from roadbed.twin.serve import GATED, Server, Settings, World, idle_ttft_s
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_figures import Row, row
from roadbed.twin.serve_trace import Trace

DEFAULT_BLOCK_TOKENS = 16


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a sweep. profile: key into the shared profiles."""

    policy: str
    replicas: int
    speedup: float
    profile: str
    seed: int = 0
    samples: bool = False


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Engine limits as asked for; 0 = what the profile and the trace suggest."""

    kv_blocks: int = 0
    block_tokens: int = 0
    max_batched_tokens: int = 8192
    max_seqs: int = 256
    tp: int = 0


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
    )  # fmt: skip


def one(shared: Mapping[str, Any], run: Run) -> Row:
    """Carries a run out. shared: trace, profiles by name, asked, settings."""
    trace: Trace = shared["trace"]
    profile: Profile = shared["profiles"][run.profile]
    asked: Asked = shared["asked"]
    settings: Settings = msgspec.structs.replace(
        shared["settings"], policy=run.policy, speedup=run.speedup, seed=run.seed, samples=run.samples
    )
    limits = limits_for(profile, trace, asked)
    server = Server(step=profile.variant(asked.tp).step, limits=limits)
    began = time.perf_counter()
    outcomes = World(trace, [server] * run.replicas, settings).run()
    found = row(
        outcomes, router=run.policy, replicas=run.replicas, speedup=run.speedup, kv_blocks=limits.kv_blocks,
        wall_s=time.perf_counter() - began, slo_ttft_s=settings.slo_ttft_s, slo_itl_s=settings.slo_itl_s,
    )  # fmt: skip
    found.seed, found.profile = run.seed, run.profile
    return found


def warnings(trace: Trace, profile: Profile, asked: Asked, settings: Settings) -> list[str]:
    """What a reader of the figures must know: extrapolation, guesses, promises nobody can keep."""
    limits = limits_for(profile, trace, asked)
    variant = profile.variant(asked.tp)
    said = list(trace.notes)
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
