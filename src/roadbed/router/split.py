"""Prefill and decode on servers of their own: where a computed prompt goes on, and how many servers do which.

Pure. Two decisions, one interface (`SplitPolicy`):

    place   after a prompt is computed: the server that takes its KV cache and decodes, or none yet
    turn    every few hundred milliseconds: which servers should take the other role

`static` never turns and takes the server whose streams' next token comes soonest. `llumnix` is the published adaptive
rule: roles follow from placement, decodes are packed. `adaptive` is ours: a ratio chosen by predicted TTFT and TPOT
against their targets, decodes spread by what they cost. Formulas with their sources: docs/design/serving-split.md.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

from roadbed.errors import UsageError

Role = Literal["prefill", "decode"]
StepTime = Callable[[int, int], float]
"""(streams, cached tokens they read) → seconds of one decoding iteration; a profile's, or learned."""

DISPATCH, CEILING, FLOOR = 0.85, 0.95, 0.60
"""Shares of the TPOT target up to which decodes are placed (Llumnix), beyond which ours counts as a miss, and below
which a server's streams are moved together with another's (Llumnix)."""
_MISSED = 1.5
_ANXIOUS, _WORTH = 0.8, 0.85
"""Roles change where some pressure is above the first and would fall below that share of itself."""
_LOOKS = 2
_FAST, _SLOW = 0.5, 0.15
"""Smoothing of a rising and of a falling load, per look."""
_TAIL = 2.3
"""p90 of an exponential wait, in means: targets are for nearly everybody, not for the average."""
_FULL = 0.9


class Server:
    """One server as these decisions see it; whoever owns the servers keeps it up to date.

    role: what it takes new work for. changing: on its way to that role, takes nothing yet. queued_s: predicted seconds
    of prompts sent there and not computed. num_streams, kv_tokens: decodes and what they and transfers coming here
    hold; left_tokens: output they are expected to need still. room_tokens: KV tokens that can be had now.
    """

    __slots__ = ("capacity_tokens", "changing", "kv_tokens", "left_tokens", "max_streams", "num_streams", "queued_s",
                 "role", "room_tokens", "slot")  # fmt: skip

    def __init__(self, slot: int, role: Role, capacity_tokens: int, max_streams: int) -> None:
        self.slot = slot
        self.role: Role = role
        self.changing = False
        self.capacity_tokens = capacity_tokens
        self.max_streams = max_streams
        self.num_streams = self.kv_tokens = 0
        self.left_tokens = 0.0
        self.room_tokens = capacity_tokens
        self.queued_s = 0.0

    def has_room(self, prompt_tokens: int, source: int) -> bool:
        """Whether it could take a prompt's cache now; on `source` it is there already."""
        if self.changing or self.num_streams >= self.max_streams:
            return False
        return prompt_tokens <= self.room_tokens or self.slot == source


class Demand:
    """What has come lately. prefill_s_per_s: seconds of one server's prefill arriving per second. prompt_s: of one
    prompt, mean. waiting_s: prompts held in the gateway, all servers together. num_pending: prompts computed whose
    caches wait for a decode server."""

    __slots__ = ("num_pending", "prefill_s_per_s", "prompt_s", "waiting_s")

    def __init__(self, prefill_s_per_s: float, prompt_s: float, waiting_s: float, num_pending: int) -> None:
        self.prefill_s_per_s = prefill_s_per_s
        self.prompt_s = prompt_s
        self.waiting_s = waiting_s
        self.num_pending = num_pending


class Meter:
    """What comes, measured between looks. overhead_s, prefill_s: what a prompt costs, and each of its tokens, as the
    router learned it; prompts of one length alone do not tell the two apart, so both count."""

    __slots__ = ("_at", "_computed", "_mean_tokens", "_num", "_share", "_tokens")

    def __init__(self) -> None:
        self._at = 0.0
        self._num = self._tokens = 0
        self._share = 1.0
        """Of prompt tokens that had to be computed, lately."""
        self._mean_tokens = 0.0
        self._computed = 0

    def arrived(self, prompt_tokens: int) -> None:
        """A request was asked for."""
        self._num += 1
        self._tokens += prompt_tokens

    def computed(self, prompt_tokens: int, cached_tokens: int) -> None:
        """A prompt was computed, `cached_tokens` of it were there."""
        self._computed += 1
        pace = max(0.02, 1.0 / self._computed)
        self._share += pace * ((prompt_tokens - cached_tokens) / prompt_tokens - self._share)
        self._mean_tokens += pace * (prompt_tokens - cached_tokens - self._mean_tokens)

    def look(self, now: float, overhead_s: float, prefill_s: float, num_waiting: int, num_pending: int) -> Demand:
        """Since the last look."""
        passed_s = max(now - self._at, 1e-9)
        rate = (self._num * overhead_s + self._tokens * self._share * prefill_s) / passed_s
        self._at, self._num, self._tokens = now, 0, 0
        prompt_s = overhead_s + self._mean_tokens * prefill_s
        return Demand(rate, prompt_s, num_waiting * prompt_s, num_pending)


class Targets:
    """What is promised, seconds."""

    __slots__ = ("tpot_s", "ttft_s")

    def __init__(self, ttft_s: float, tpot_s: float) -> None:
        self.ttft_s = ttft_s
        self.tpot_s = tpot_s


class SplitPolicy(Protocol):
    """One per service; may keep what it has seen. Servers are given in slot order."""

    name: str

    def place(self, prompt_tokens: int, output_tokens: float, servers: Sequence[Server], source: int) -> int:
        """The slot that goes on with a prompt computed on `source`, −1 = none has room. A prefill server that is named
        takes the decode role with it; it may be the source, whose cache need not travel then."""
        ...

    def turn(self, servers: Sequence[Server], demand: Demand) -> int:
        """The slot whose role should change now, −1 = none. Never the last of a role."""
        ...


class Static:
    """The ratio it was given; the decode server with the lowest predicted TPOT."""

    name = "static"

    def __init__(self, step: StepTime, targets: Targets) -> None:
        self._step = step

    def place(self, prompt_tokens: int, output_tokens: float, servers: Sequence[Server], source: int) -> int:
        return _lowest(
            (self._step(one.num_streams + 1, one.kv_tokens + prompt_tokens), one.slot)
            for one in _decoders(servers, prompt_tokens, source)
        )

    def turn(self, servers: Sequence[Server], demand: Demand) -> int:
        return -1


class Llumnix:
    """The decode server with the highest predicted TPOT within 0.85 of its target, else the prefill server with the
    shortest queue becomes one, else the lowest TPOT. A decode server without streams computes prompts again.

    The lowest slot of each role is reserved. Where it migrates the streams of a decode server below 0.60 to a fuller
    one, here that server gets no new ones; its migration away from servers above 0.95 is left out.
    """

    name = "llumnix"

    def __init__(self, step: StepTime, targets: Targets) -> None:
        self._step = step
        self._limit_s = DISPATCH * targets.tpot_s
        self._floor_s = FLOOR * targets.tpot_s

    def place(self, prompt_tokens: int, output_tokens: float, servers: Sequence[Server], source: int) -> int:
        decoders = _decoders(servers, prompt_tokens, source)
        tpots = [(self._step(one.num_streams + 1, one.kv_tokens + prompt_tokens), one.slot) for one in decoders]
        within = [(-tpot_s, slot) for tpot_s, slot in tpots if tpot_s <= self._limit_s]
        if within:
            return _lowest(within)
        prefills = [one for one in servers if one.role == "prefill"]
        able = [one for one in prefills[1:] if one.has_room(prompt_tokens, source)]
        if able and not any(one.changing for one in servers):
            return _lowest((one.queued_s, one.slot) for one in able)
        return _lowest(tpots)

    def turn(self, servers: Sequence[Server], demand: Demand) -> int:
        decoders = [one for one in servers if one.role == "decode" and not one.changing]
        if demand.num_pending or len(decoders) < 2:
            return -1
        tpots = [self._step(one.num_streams, one.kv_tokens) if one.num_streams else 0.0 for one in decoders]
        least = min(range(1, len(decoders)), key=tpots.__getitem__)
        fuller = [one for index, one in enumerate(decoders) if index != least]
        source = decoders[least]
        fits = any(
            self._step(one.num_streams + source.num_streams, one.kv_tokens + source.kv_tokens) <= self._limit_s
            for one in fuller
        )
        return source.slot if tpots[least] < self._floor_s and fits else -1


class Adaptive:
    """Ours. Place: the fewest seconds for this stream and those it slows. Turn: the ratio with the lowest pressure.

        cost(i)     = output · TPOT(i with it) + tokens still to come at i · what it adds to their TPOT
        pressure(p) = max(TTFT of p prefill servers / target, TPOT of the others / target, their KV / 0.9)
        TTFT        = 2 · prompt + 2.3 · prompt · ρ / (1 − ρ) + prompts queued / p,   ρ = prefill seconds per second / p

    Beyond ρ = 0.95 the wait grows by what piles up in a cold look-ahead of ten seconds. A role changes by one server,
    when the pressure is above 0.8, would fall by at least 15 %, and did so at two looks in a row.
    """

    name = "adaptive"

    def __init__(self, step: StepTime, targets: Targets) -> None:
        self._step = step
        self._targets = targets
        self._rate = self._streams = self._kv = 0.0
        self._num_alike = 0
        self._wish = 0

    def place(self, prompt_tokens: int, output_tokens: float, servers: Sequence[Server], source: int) -> int:
        costs = []
        for one in _decoders(servers, prompt_tokens, source):
            after_s = self._step(one.num_streams + 1, one.kv_tokens + prompt_tokens)
            before_s = self._step(one.num_streams, one.kv_tokens) if one.num_streams else 0.0
            cost_s = output_tokens * after_s
            if one.num_streams:
                cost_s += one.left_tokens * (after_s - before_s)
            costs.append((cost_s * _MISSED if after_s > CEILING * self._targets.tpot_s else cost_s, one.slot))
        return _lowest(costs)

    def turn(self, servers: Sequence[Server], demand: Demand) -> int:
        prefills = [one for one in servers if one.role == "prefill"]
        decoders = [one for one in servers if one.role == "decode"]
        self._see(demand, decoders)
        if any(one.changing for one in servers):
            return -1
        num = len(prefills)
        queued_s = demand.waiting_s + sum(one.queued_s for one in servers)
        options = [p for p in (num - 1, num, num + 1) if 1 <= p < len(servers)]
        pressures = {p: self._pressure(p, servers, demand, queued_s) for p in options}
        best = min(options, key=lambda p: (pressures[p], abs(p - num)))
        worth = best != num and pressures[num] > _ANXIOUS and pressures[best] < _WORTH * pressures[num]
        self._num_alike = self._num_alike + 1 if worth and best == self._wish else int(worth)
        self._wish = best
        if self._num_alike < _LOOKS:
            return -1
        self._num_alike = 0
        if best > num:
            return _lowest((one.left_tokens, one.slot) for one in decoders)
        return _lowest((one.queued_s, one.slot) for one in prefills)

    def _see(self, demand: Demand, decoders: Sequence[Server]) -> None:
        self._rate = _smooth(self._rate, demand.prefill_s_per_s)
        self._streams = _smooth(self._streams, float(sum(one.num_streams for one in decoders) + demand.num_pending))
        self._kv = _smooth(self._kv, float(sum(one.kv_tokens for one in decoders)))

    def _pressure(self, num_prefill: int, servers: Sequence[Server], demand: Demand, queued_s: float) -> float:
        """Of so many prefill servers, the rest decoding: above 1 some promise is missed."""
        num_decode = len(servers) - num_prefill
        share = self._rate / num_prefill
        wait_s = demand.prompt_s * min(share, 0.95) / (1.0 - min(share, 0.95)) + 10.0 * max(0.0, share - 0.95)
        ttft_s = 2.0 * demand.prompt_s + _TAIL * wait_s + queued_s / num_prefill
        streams, kv_tokens = self._streams / num_decode, self._kv / num_decode
        tpot_s = self._step(max(1, round(streams)), int(kv_tokens)) if streams > 0.0 else 0.0
        capacity = sum(one.capacity_tokens for one in servers) / len(servers)
        most = max(1, sum(one.max_streams for one in servers) // len(servers))
        return max(
            ttft_s / self._targets.ttft_s, tpot_s / self._targets.tpot_s, kv_tokens / (_FULL * capacity), streams / most
        )


def _decoders(servers: Sequence[Server], prompt_tokens: int, source: int) -> list[Server]:
    return [one for one in servers if one.role == "decode" and one.has_room(prompt_tokens, source)]


def _lowest(options: Iterable[tuple[float, int]]) -> int:
    """The slot of the lowest value, the lower slot among equals; −1 of none."""
    return min(options, default=(0.0, -1))[1]


def _smooth(before: float, now: float) -> float:
    return before + (_FAST if now > before else _SLOW) * (now - before)


SPLIT_POLICIES: dict[str, Callable[[StepTime, Targets], SplitPolicy]] = {
    "static": Static,
    "llumnix": Llumnix,
    "adaptive": Adaptive,
}


def create(name: str, step: StepTime, targets: Targets) -> SplitPolicy:
    """A policy by name. UsageError naming those there are."""
    made = SPLIT_POLICIES.get(name)
    if made is None:
        raise UsageError(
            f"there is no split policy {name!r}; there is {', '.join(SPLIT_POLICIES)}",
            hint="roadbed twin serve --split 2:6,adaptive", field="split",
        )  # fmt: skip
    return made(step, targets)
