"""The request twin: a trace, the router that runs in the gateway, and modelled engines behind it.

    arrival ──▶ RouterCore.arrive ──▶ go ──▶ Engine.submit ──▶ first token ──▶ last token ──▶ RouterCore.finish
                      └─▶ wait, shed (── retry ──▶ arrival again)

Nothing here chooses: the class that decides is the one the gateway runs, fed with the same events (dispatch, first
byte, finish with the engine's own token counts, polled reports, cache evictions). Baselines are run as published, so
the gateway holds nothing back for them; `roadbed` also admits and orders. `NAME+gate` puts any policy behind the
gateway's admission, `NAME+open` takes it away.

Replicas may differ, and with a `Scaling` they come and go: the autoscaler that runs live decides (`serve_fleet_scale`).
"""

from collections.abc import Sequence

import msgspec

from roadbed.errors import UsageError
from roadbed.profiles.model import StepModel, StepTimer
from roadbed.router.account import MemoryAccount
from roadbed.router.base import Decision, Features, ReplicaInfo, ReplicaReport
from roadbed.router.core import RouterCore
from roadbed.twin.kernel import Handle, Kernel
from roadbed.twin.serve_engine import Engine, Limits, Work
from roadbed.twin.serve_figures import Outcomes, Sample
from roadbed.twin.serve_fleet_scale import Scaler, Scaling
from roadbed.twin.serve_trace import Trace

_NUM_SAMPLES = 240
_BYTES_PER_TOKEN = 4
"""What the router starts from (`ServiceModel`): block_bytes below then means the trace's own blocks."""
GATED = ("roadbed",)
"""Policies that the gateway's admission belongs to."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run. speedup: how much faster requests arrive than they were recorded.

    poll_s: between engine reports. tick_s: between looks at the queue. cache_news: engines tell what they evict.
    retries: times a shed client comes back after its retry-after.
    """

    policy: str = "roadbed"
    speedup: float = 1.0
    seed: int = 0
    slo_ttft_s: float | None = None
    slo_itl_s: float | None = None
    poll_s: float = 1.0
    tick_s: float = 0.02
    cache_news: bool = True
    max_queue: int = 100_000
    max_wait_s: float = 600.0
    retries: int = 0
    samples: bool = False


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One replica: its step times and how its engine was started. devices: it takes; cost_per_hour: CNY. model: it
    serves; it matters where a trace names models."""

    step: StepModel
    limits: Limits
    model: str = ""
    devices: int = 1
    cost_per_hour: float = 0.0


class _Replica:
    """An engine, its place in the router, and the event at which its iterations end."""

    __slots__ = ("blocks", "draining", "engine", "handle", "id", "kind", "model", "slot", "world")

    def __init__(
        self, world: "World", slot: int, name: str, engine: Engine, blocks: "BlockMap", model: str = "", kind: str = ""
    ) -> None:
        self.model = model
        self.kind = kind
        self.world = world
        self.slot = slot
        self.id = name
        self.engine = engine
        self.blocks = blocks
        self.handle: Handle | None = None
        self.draining = False

    @property
    def num_inside(self) -> int:
        """Requests it has, begun or not."""
        return self.engine.num_running + self.engine.num_waiting

    def submit(self, work: Work, now: float) -> None:
        end_s = self.engine.submit(work, now)
        if end_s is None:
            return
        if self.handle is not None and self.handle[0] != end_s:
            self.world.kernel.cancel(self.handle)
            self.handle = self.world.kernel.at(end_s, self.end)

    def begin(self, now: float) -> None:
        """Starts the next iterations if none are under way."""
        if not self.engine.is_busy:
            end_s = self.engine.begin(now)
            self.handle = None if end_s is None else self.world.kernel.at(end_s, self.end)

    def end(self) -> None:
        now = self.world.kernel.now
        self.handle = None
        firsts, done = self.engine.end(now)
        self.world.deliver(self, firsts, done, now)
        self.begin(now)
        if self.draining and not self.num_inside:
            self.world.leave(self)


class Replay:
    """What every world of requests has: a trace, a clock, the router under test, and what goes on beside. Subclasses
    send requests to it, carry out what it decides, and have the engines."""

    def __init__(self, trace: Trace, settings: Settings) -> None:
        """Raises UsageError for a policy nobody knows."""
        name, _, mode = settings.policy.partition("+")
        gated = (mode or ("gate" if name in GATED else "open")) == "gate"
        self.trace = trace
        self.settings = settings
        self.kernel = Kernel()
        self.outcomes = Outcomes(len(trace))
        self.core = RouterCore(
            account=MemoryAccount().view(), policy=name, seed=settings.seed, max_queue=settings.max_queue,
            max_wait_s=settings.max_wait_s, admission=gated, block_bytes=(trace.block_tokens or 64) * _BYTES_PER_TOKEN,
        )  # fmt: skip
        self._next = 0
        self._num_over = 0
        self._is_ticking = False

    @property
    def is_over(self) -> bool:
        """Whether every request has ended."""
        return self._num_over == len(self.trace)

    @property
    def engines(self) -> Sequence[Engine]:
        """Those that are there, in slot order."""
        raise NotImplementedError

    @property
    def num_starting(self) -> int:
        """Replicas on their way."""
        return 0

    def _carry_out(self, decision: Decision) -> None:
        raise NotImplementedError

    def _tell_evicted(self, slot: int, engine: Engine, blocks: "BlockMap", now: float) -> None:
        evicted = engine.cache.evicted
        if evicted:
            self.core.prefix_news(slot, blocks.to_trace(evicted), now, removed=True)
            evicted.clear()

    def _watch_queue(self) -> None:
        if self.core.num_waiting and not self._is_ticking:
            self._is_ticking = True
            self.kernel.after(self.settings.tick_s, self._tick, priority=1)

    def _tick(self) -> None:
        self._is_ticking = False
        for decision in self.core.tick(self.kernel.now):
            self._carry_out(decision)
        self._watch_queue()

    def _sample(self) -> None:
        engines = self.engines
        self.outcomes.samples.append(
            Sample(
                at_s=self.kernel.now, queued=self.core.num_waiting, running=[one.num_running for one in engines],
                waiting=[one.num_waiting for one in engines], kv_usage=[one.cache.usage for one in engines],
                arrived=self._next, starting=self.num_starting,
            )
        )  # fmt: skip
        if not self.is_over:
            lasts_s = self.trace.arrival_s[-1] / self.settings.speedup
            self.kernel.after(max(lasts_s / _NUM_SAMPLES, 0.1), self._sample, priority=9)


class World(Replay):
    """One run of one policy over one trace; `run` once."""

    def __init__(
        self, trace: Trace, servers: Sequence[Server], settings: Settings, scaling: Scaling | None = None
    ) -> None:
        """With `scaling` the fleet is of servers[0] and begins with as many as that says. Raises UsageError for a
        policy nobody knows, or block sizes that do not go together; ValueError for no servers."""
        if not servers:
            raise ValueError("a world without servers")
        super().__init__(trace, settings)
        self._tries: dict[int, int] = {}
        self._servers = list(servers)
        self._adapters, self._has_models = trace.adapters, bool(trace.models)
        self._timers: dict[int, StepTimer] = {}
        self._largest_tokens = max(server.limits.kv_blocks * server.limits.block_tokens for server in servers)
        self._replicas: list[_Replica] = []
        """Those that are there, draining ones included."""
        self._by_slot: dict[int, _Replica] = {}
        self._num_made = 0
        for slot, server in enumerate(servers if scaling is None else [servers[0]] * scaling.num_begin):
            self._add(slot, server)
        self._tell_replicas()
        self._scaler = None if scaling is None else self._scaled(scaling)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self) -> Outcomes:
        """Replays the trace to its last answer."""
        if len(self.trace):
            self.kernel.at(self.trace.arrival_s[0] / self.settings.speedup, self._arrival)
            self.kernel.at(0.0, self._poll, priority=5)
            if self._scaler is not None:
                self._scaler.begin()
            if self.settings.samples:
                self.kernel.at(0.0, self._sample, priority=9)
        self.kernel.run()
        outcomes = self.outcomes
        outcomes.num_preemptions += sum(replica.engine.num_preemptions for replica in self._replicas)
        outcomes.busy_s += [replica.engine.busy_s for replica in self._replicas]
        if self._scaler is not None:
            outcomes.tally = self._scaler.tally
        return outcomes

    @property
    def engines(self) -> Sequence[Engine]:
        return [replica.engine for replica in self._replicas]

    @property
    def num_starting(self) -> int:
        return 0 if self._scaler is None else self._scaler.num_starting

    def _arrival(self) -> None:
        number = self._next
        self._next += 1
        if self._next < len(self.trace):
            self.kernel.at(self.trace.arrival_s[self._next] / self.settings.speedup, self._arrival)
        self._ask(number)

    def _ask(self, number: int) -> None:
        """A client asks the gateway, for the first time or again."""
        trace, now = self.trace, self.kernel.now
        prompt, output = trace.prompt_tokens[number], trace.output_tokens[number]
        if prompt + output > self._largest_tokens:
            self._over_shed(number, "too_long")
            return
        features = Features(
            request_id=str(number), blocks=trace.blocks[number], block_tokens=trace.block_tokens or 64,
            prompt_tokens=prompt, output_tokens=self.core.output_tokens(None), priority=trace.priority[number],
            session=trace.session[number], slo_ttft_s=self.settings.slo_ttft_s, slo_tpot_s=self.settings.slo_itl_s,
            adapter=trace.adapter[number], model=trace.model[number],
        )  # fmt: skip
        self._carry_out(self.core.arrive(features, now))
        self._watch_queue()

    def _carry_out(self, decision: Decision) -> None:
        number = int(decision.request_id)
        if decision.kind == "go":
            self._send(number, decision)
        elif decision.kind == "shed":
            tried = self._tries.get(number, 0)
            if tried < self.settings.retries:
                self._tries[number] = tried + 1
                self.kernel.after(max(decision.retry_after_s, 0.001), lambda: self._ask(number))
            else:
                self._over_shed(number, decision.reason)

    def _send(self, number: int, decision: Decision) -> None:
        trace, now = self.trace, self.kernel.now
        replica = self._by_slot[decision.slot]
        prompt, output = trace.prompt_tokens[number], trace.output_tokens[number]
        if not replica.engine.fits(prompt, output):
            self._carry_out(self.core.failed(decision.request_id, now))
            return
        blocks = replica.blocks.to_engine(trace.blocks[number])
        self.outcomes.sent(number, decision)
        work = Work(number, prompt, output, blocks, trace.priority[number], adapter=trace.adapter[number])
        replica.submit(work, now)
        replica.begin(now)
        self._tell_evicted(replica.slot, replica.engine, replica.blocks, now)

    def deliver(self, replica: _Replica, firsts: Sequence[Work], done: Sequence[Work], now: float) -> None:
        """Iterations of a replica ended: tells the router, and sends what it lets go."""
        core = self.core
        for work in firsts:
            core.first_byte(str(work.number), now)
        for work in done:
            self.outcomes.over(work, self.trace.arrival_s[work.number] / self.settings.speedup)
            self._count_over()
            decisions = core.finish(
                str(work.number), now, outcome_ok=True, prompt_tokens=work.prompt_tokens,
                cached_tokens=max(0, work.cached_tokens), completion_tokens=work.output_tokens,
            )  # fmt: skip
            for decision in decisions:
                self._carry_out(decision)
        self._tell_evicted(replica.slot, replica.engine, replica.blocks, now)
        self._watch_queue()

    # --- replicas that come and go -----------------------------------------------------------------------------------

    def _scaled(self, scaling: Scaling) -> Scaler:
        core = self.core
        return Scaler(
            scaling, self.kernel, cost_per_hour=self._servers[0].cost_per_hour, grow=self._grow, shrink=self._shrink,
            load=lambda: (core.num_live, core.num_waiting),
        )  # fmt: skip

    def _add(self, slot: int, server: Server) -> None:
        timer = self._timers.setdefault(id(server.step), StepTimer(server.step))
        engine = Engine(timer, server.limits, tells=self.settings.cache_news)
        blocks = BlockMap(self.trace.block_tokens, server.limits.block_tokens)
        kind = str(list(self._timers).index(id(server.step)))
        replica = _Replica(self, slot, f"r{self._num_made}", engine, blocks, server.model, kind)
        self._num_made += 1
        self._replicas.append(replica)
        self._by_slot[slot] = replica

    def _tell_replicas(self) -> None:
        infos = [_info(replica, self._adapters, self._has_models) for replica in self._replicas]
        self.core.set_replicas(infos, self.kernel.now)
        self._watch_queue()

    def _grow(self) -> None:
        """Another replica is ready, in the lowest free slot."""
        self._add(next(slot for slot in range(len(self._by_slot) + 1) if slot not in self._by_slot), self._servers[0])
        self._tell_replicas()

    def _shrink(self) -> None:
        """The replica with the fewest requests takes no more; the youngest of equals, whose cache is worth least."""
        staying = [replica for replica in self._replicas if not replica.draining]
        leaving = min(reversed(staying), key=lambda replica: replica.num_inside)
        leaving.draining = True
        if leaving.num_inside:
            self._tell_replicas()
        else:
            self.leave(leaving)

    def leave(self, replica: _Replica) -> None:
        """A draining replica has nothing left to do."""
        self._replicas.remove(replica)
        del self._by_slot[replica.slot]
        self.outcomes.num_preemptions += replica.engine.num_preemptions
        self.outcomes.busy_s.append(replica.engine.busy_s)
        self._tell_replicas()
        if self._scaler is not None:
            self._scaler.left()

    # --- what goes on beside -----------------------------------------------------------------------------------------

    def _over_shed(self, number: int, reason: str) -> None:
        self.outcomes.shed(number, reason)
        self._count_over()

    def _count_over(self) -> None:
        self._num_over += 1
        if self._scaler is not None and self.is_over:
            self._scaler.close()

    def _poll(self) -> None:
        now = self.kernel.now
        for replica in self._replicas:
            engine = replica.engine
            report = ReplicaReport(
                at=now, num_running=engine.num_running, num_waiting=engine.num_waiting, kv_usage=engine.cache.usage
            )  # fmt: skip
            self.core.report(replica.slot, report, now)
        if not self.is_over:
            self.kernel.after(self.settings.poll_s, self._poll, priority=5)


class BlockMap:
    """Between hashes of the trace's blocks and of the engine's, where one size is a multiple of the other."""

    __slots__ = ("_group", "_split")

    def __init__(self, trace_tokens: int, engine_tokens: int) -> None:
        """trace_tokens 0: the trace has no hashes. UsageError where neither size divides the other."""
        self._split = self._group = 1
        if trace_tokens > engine_tokens and trace_tokens % engine_tokens == 0:
            self._split = trace_tokens // engine_tokens
        elif trace_tokens and engine_tokens % trace_tokens == 0:
            self._group = engine_tokens // trace_tokens
        elif trace_tokens:
            raise UsageError(
                f"blocks of {engine_tokens} tokens can't be made of the trace's, which have {trace_tokens}",
                hint=f"roadbed twin serve --block-tokens {trace_tokens}", field="block-tokens",
            )  # fmt: skip

    def to_engine(self, blocks: Sequence[int]) -> Sequence[int]:
        """The engine's blocks of a prompt. A trace's hash names all before it, so the last of a group stands for it."""
        if self._group > 1:
            return blocks[self._group - 1 :: self._group]
        if self._split > 1:
            return [block * self._split + at for block in blocks for at in range(self._split)]
        return blocks

    def to_trace(self, blocks: Sequence[int]) -> list[int]:
        """The trace's blocks that engine blocks are (part of), without repeats."""
        if self._split > 1:
            return list(dict.fromkeys(block // self._split for block in blocks))
        return list(blocks)


def idle_ttft_s(step: StepModel, limits: Limits, prompt_tokens: int) -> float:
    """Seconds to the first token of a prompt on an engine that does nothing else."""
    timer, done, seconds = StepTimer(step), 0, 0.0
    while done < prompt_tokens:
        new = min(limits.max_batched_tokens, prompt_tokens - done)
        seconds += timer.mixed([(new, done)], done + new == prompt_tokens, 0, 0)
        done += new
    return seconds


def _info(replica: _Replica, adapters: tuple[str, ...], has_models: bool) -> ReplicaInfo:
    """Every replica can load every adapter of the trace; models count where the trace names some."""
    limits = replica.engine.limits
    return ReplicaInfo(
        id=replica.id, slot=replica.slot, max_concurrency=limits.max_seqs,
        kv_tokens=limits.kv_blocks * limits.block_tokens, draining=replica.draining, adapters=adapters,
        max_adapters=limits.max_adapters, adapter_load_s=limits.adapter_load_s,
        models=(replica.model,) if has_models else (), kind=replica.kind,
    )  # fmt: skip
