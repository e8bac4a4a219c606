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
_ANXIOUS, _WORTH, _LOOKS = 0.85, 0.9, 2
"""Roles change where some pressure is above the first and would fall below that share of itself, at so many looks."""
_BY_LOOK, _BY_REQUEST = 0.1, 0.005
"""Share of the newest in what is remembered."""
_P90 = 2.3
"""Of an exponential wait, in means: targets are for nearly all."""
_FULL, _WIDE = 0.9, 0.8
"""Shares of a KV cache and of a NIC that are as good as all of it."""
_DRAIN_S = 10.0
"""What is queued should be gone within."""
_ROUNDS = 24


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
    """What has come lately, per second and per request.

    requests_per_s; prompt_s, spread_s: seconds of one server that a prompt takes, mean and deviation, without what is
    cached; transfer_s: of one cache with a NIC to itself; output_tokens: of an answer; context_tokens: that one of them
    reads (long answers count more, and their prompts are often short); waiting_s: prompts held in the gateway;
    num_pending: prompts computed whose caches wait for a decode server.
    """

    __slots__ = ("context_tokens", "num_pending", "output_tokens", "prompt_s", "requests_per_s",
                 "spread_s", "transfer_s", "waiting_s")  # fmt: skip

    def __init__(
        self, *, requests_per_s: float = 0.0, prompt_s: float = 0.0, spread_s: float = 0.0, transfer_s: float = 0.0,
        context_tokens: float = 0.0, output_tokens: float = 0.0, waiting_s: float = 0.0,
        num_pending: int = 0,
    ) -> None:  # fmt: skip
        self.requests_per_s = requests_per_s
        self.prompt_s = prompt_s
        self.spread_s = spread_s
        self.transfer_s = transfer_s
        self.context_tokens = context_tokens
        self.output_tokens = output_tokens
        self.waiting_s = waiting_s
        self.num_pending = num_pending


class _Seen:
    """Mean and deviation of what was seen lately: plainly at first, then the past fades."""

    __slots__ = ("_num", "_pace", "_square", "mean")

    def __init__(self, pace: float) -> None:
        self.mean = self._square = 0.0
        self._num = 0
        self._pace = pace

    def observe(self, value: float) -> None:
        self._num += 1
        pace = max(self._pace, 1.0 / self._num)
        self.mean += pace * (value - self.mean)
        self._square += pace * (value * value - self._square)

    @property
    def deviation(self) -> float:
        return float(max(0.0, self._square - self.mean**2) ** 0.5)


class Meter:
    """Measures demand between looks. overhead_s, prefill_s: what a prompt costs, and each of its tokens, as the router
    learned it; prompts of one length alone do not tell the two apart, so both count."""

    __slots__ = ("_asked", "_at", "_computed", "_num", "_output", "_read", "_sent_s")

    def __init__(self) -> None:
        self._at = 0.0
        self._num = 0
        self._asked, self._computed, self._sent_s = _Seen(_BY_LOOK), _Seen(_BY_REQUEST), _Seen(_BY_REQUEST)
        self._read, self._output = _Seen(_BY_REQUEST), _Seen(_BY_REQUEST)

    @property
    def output_tokens(self) -> float:
        """Of an answer, mean; 128 before there was one."""
        return self._output.mean or 128.0

    def arrived(self) -> None:
        """A request was asked for."""
        self._num += 1

    def computed(self, num_tokens: int) -> None:
        """So many tokens of a prompt were computed; the others were there."""
        self._computed.observe(float(num_tokens))

    def sent(self, transfer_s: float) -> None:
        """A cache was sent; with a NIC to itself it takes so long."""
        self._sent_s.observe(transfer_s)

    def answered(self, prompt_tokens: int, output_tokens: int) -> None:
        """An answer ended."""
        self._output.observe(float(output_tokens))
        self._read.observe(output_tokens * (prompt_tokens + output_tokens / 2))

    def look(self, now: float, overhead_s: float, prefill_s: float, num_waiting: int, num_pending: int) -> Demand:
        """Since the last look, and lately."""
        self._asked.observe(self._num / max(now - self._at, 1e-9))
        self._at, self._num = now, 0
        prompt_s, output = overhead_s + self._computed.mean * prefill_s, self.output_tokens
        return Demand(
            requests_per_s=self._asked.mean, prompt_s=prompt_s, spread_s=self._computed.deviation * prefill_s,
            transfer_s=self._sent_s.mean, context_tokens=self._read.mean / output,
            output_tokens=output, waiting_s=num_waiting * prompt_s,
            num_pending=num_pending,
        )  # fmt: skip


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

        cost(i)  = output · TPOT(i with it) + tokens still to come at i · what it adds to their TPOT
        pressure = demand / what can be carried with the promises kept, the highest of
                   (requests/s · prompt + queued / 10 s) / (p · ρ)      ρ: the load at which p90 of TTFT is its target
                   requests/s · output · TPOT(n) / (d · n)              n: streams that have TPOT at 0.85 of its target
                   requests/s · transfer / (0.8 · the fewer of both)

    TTFT's wait is that of M/G/p (Sakasegawa). Demand counts what is asked for, not what is there: streams that slow
    prompts hold back will come. A role changes by one server, where the
    pressure is above 0.85, would fall by a tenth, and did so at two looks in a row.
    """

    name = "adaptive"

    def __init__(self, step: StepTime, targets: Targets) -> None:
        self._step = step
        self._targets = targets
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
        if any(one.changing for one in servers):
            return -1
        num = len(prefills)
        queued_s = demand.waiting_s + sum(one.queued_s for one in servers)
        options = [p for p in (num - 1, num, num + 1) if 1 <= p < len(servers)]
        pressures = {p: self.pressure(p, servers, demand, queued_s) for p in options}
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

    def pressure(self, num_prefill: int, servers: Sequence[Server], demand: Demand, queued_s: float) -> float:
        """Of so many prefill servers, the rest decoding: above 1 promises are missed."""
        num, num_decode = len(servers), len(servers) - num_prefill
        asked_s = demand.requests_per_s * demand.prompt_s + queued_s / _DRAIN_S
        prefill = asked_s / (num_prefill * most_load(num_prefill, demand, self._targets.ttft_s))
        most = most_streams(
            self._step, DISPATCH * self._targets.tpot_s, demand.context_tokens,
            _FULL * sum(one.capacity_tokens for one in servers) / num, sum(one.max_streams for one in servers) / num,
        )  # fmt: skip
        there = sum(one.num_streams for one in servers) + demand.num_pending
        step_s = self._step(max(1, round(most)), int(most * demand.context_tokens))
        decode = max(demand.requests_per_s * demand.output_tokens * step_s, there) / (num_decode * most)
        link = demand.requests_per_s * demand.transfer_s / (_WIDE * min(num_prefill, num_decode))
        return float(max(prefill, decode, link))


def most_load(num_servers: int, demand: Demand, target_s: float) -> float:
    """Share of their time that prefill servers may be busy for nine in ten first tokens to come in time."""
    slack_s = target_s - demand.prompt_s - demand.spread_s - demand.transfer_s
    if demand.prompt_s <= 0.0:
        return 1.0
    varied = _P90 * (demand.prompt_s + demand.spread_s**2 / demand.prompt_s) / 2.0
    power = (2.0 * num_servers + 2.0) ** 0.5 - 1.0
    low, high = 0.3, 0.98
    for _ in range(_ROUNDS):
        load = (low + high) / 2.0
        wait_s = varied * load**power / (num_servers * (1.0 - load))
        low, high = (load, high) if wait_s <= slack_s else (low, load)
    return low


def most_streams(step: StepTime, target_s: float, context: float, kv_tokens: float, most: float) -> float:
    """Streams of a mean context that one server carries within a TPOT, its cache and its places; at least 1."""
    low, high = 1.0, max(1.0, min(most, kv_tokens / max(1.0, context)))
    for _ in range(_ROUNDS):
        middle = (low + high) / 2.0
        within = step(max(1, round(middle)), int(middle * context)) <= target_s
        low, high = (middle, high) if within else (low, middle)
    return low


def _decoders(servers: Sequence[Server], prompt_tokens: int, source: int) -> list[Server]:
    return [one for one in servers if one.role == "decode" and one.has_room(prompt_tokens, source)]


def _lowest(options: Iterable[tuple[float, int]]) -> int:
    """The slot of the lowest value, the lower slot among equals; −1 of none."""
    return min(options, default=(0.0, -1))[1]


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
