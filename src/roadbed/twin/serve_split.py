"""The request twin with prefill and decode on servers of their own: KV caches travel, roles may change.

    arrival ─▶ RouterCore over the prefill servers ─▶ prompt computed, first token ─▶ pending
            ─▶ SplitPolicy.place ─▶ blocks reserved ─▶ transfer through both NICs ─▶ decode ─▶ last token

Nothing here chooses: prompts are routed by the class that runs in the gateway, with the policy asked for; decodes and
roles by `router.split`. A computed prompt keeps its blocks until they have been fetched, so decode servers without
room stop the prefill servers in the end, as they should. Whoever decodes keeps prompt blocks for others, too: what is
there already does not travel. A decode server whose cache runs full preempts and computes prompts again itself.

A server that stops computing prompts finishes those it has. Where a change of role costs nothing it decodes meanwhile
(engines that can do both); otherwise it begins when it is done with them and the change. A server that stops decoding
computes prompts only after its last stream.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from roadbed.errors import UsageError
from roadbed.profiles.model import StepTimer
from roadbed.router.base import Decision, Features, ReplicaInfo
from roadbed.router.split import Meter, Role, Server, Targets, create
from roadbed.twin.kernel import Handle
from roadbed.twin.serve import BlockMap, Replay, Settings
from roadbed.twin.serve_engine import Engine, Limits, Work
from roadbed.twin.serve_figures import Outcomes
from roadbed.twin.serve_split_links import Links
from roadbed.twin.serve_trace import Trace

_LOOK_S = {"adaptive": 1.0, "llumnix": 0.1}
_TTFT_S, _TPOT_S = 2.0, 0.05
"""Targets for decisions where none is promised."""
_FEWEST = 2
_LEARNING_S = 30.0
"""Roles stay until prices are learned, at most for so long."""


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How the servers are divided. policy: of `router.split`; num_prefill: of them compute prompts at first.

    link_bytes_s: of a server's NIC, each way. kv_bytes: of one token's keys and values. role_change_s: from having
    nothing left of the old role to taking work in the new one. first_token: who gives the client its first token;
    decode as in vLLM's proxy protocol, where the prefill leg's own token is thrown away, or the prefill server.
    """

    policy: str = "static"
    num_prefill: int = 1
    link_bytes_s: float = 50e9
    kv_bytes: int = 131_072
    role_change_s: float = 0.0
    first_token: Literal["decode", "prefill"] = "decode"

    def written(self, num_servers: int) -> str:
        """`2:6`, or the name of the policy that finds the ratio."""
        return self.policy if self.policy != "static" else f"{self.num_prefill}:{num_servers - self.num_prefill}"


class _Station:
    """A server: its engine, what decisions see of it, and the event at which its iterations end."""

    __slots__ = ("coming_tokens", "engine", "handle", "id", "num_coming", "slot", "view", "world")

    def __init__(self, world: "SplitWorld", slot: int, engine: Engine, role: Role) -> None:
        limits = engine.limits
        self.world = world
        self.slot = slot
        self.id = f"s{slot}"
        self.engine = engine
        self.handle: Handle | None = None
        self.view = Server(slot, role, limits.kv_blocks * limits.block_tokens, limits.max_seqs)
        self.coming_tokens = 0
        self.num_coming = 0

    def look(self, now: float, mean_output: float, queued_s: float) -> None:
        """Brings what decisions see up to date."""
        view, engine = self.view, self.engine
        view.num_streams = engine.num_decoding + engine.num_coming
        view.kv_tokens = engine.kv_tokens + self.coming_tokens
        view.left_tokens = view.num_streams * mean_output / 2
        view.room_tokens = engine.cache.num_available * engine.limits.block_tokens
        view.queued_s = queued_s

    def sync(self, end_s: float | None) -> None:
        """Iterations end at end_s now."""
        kernel = self.world.kernel
        if self.handle is not None:
            if self.handle[0] == end_s:
                return
            kernel.cancel(self.handle)
            self.handle = None
        if end_s is not None:
            self.handle = kernel.at(end_s, self.end)

    def begin(self, now: float) -> None:
        """Starts the next iterations if none are under way."""
        if not self.engine.is_busy:
            self.sync(self.engine.begin(now))

    def end(self) -> None:
        now = self.world.kernel.now
        self.handle = None
        firsts, done = self.engine.end(now)
        self.world.deliver(self, firsts, done, now)
        self.begin(now)

    @property
    def has_prompts(self) -> bool:
        """Whether it computes prompts still, or holds some that nobody fetched yet."""
        engine = self.engine
        return bool(engine.num_waiting or engine.num_running > engine.num_decoding or self.world.num_kept(self.slot))


class _Pending:
    """A computed prompt whose cache waits for a decode server."""

    __slots__ = ("since_s", "source", "work")

    def __init__(self, work: Work, source: _Station, since_s: float) -> None:
        self.work = work
        self.source = source
        self.since_s = since_s


class SplitWorld(Replay):
    """One run over one trace; `run` once."""

    def __init__(
        self, trace: Trace, timer: StepTimer, limits: Limits, num_servers: int, settings: Settings, split: Split
    ) -> None:
        """All servers alike. UsageError for a ratio or a policy that can't be, or block sizes that do not fit."""
        if num_servers < _FEWEST or not 1 <= split.num_prefill < num_servers:
            raise UsageError(
                f"{split.num_prefill} prefill servers of {num_servers}: each role needs at least one",
                hint="roadbed twin serve --split 2:6", field="split",
            )  # fmt: skip
        super().__init__(trace, settings)
        self.split = split
        self.links = Links(self.kernel, split.link_bytes_s)
        self._timer = timer
        self._adapters = trace.adapters
        self._targets = Targets(settings.slo_ttft_s or _TTFT_S, settings.slo_itl_s or _TPOT_S)
        self._policy = create(split.policy, self._step_s, self._targets)
        self._map = BlockMap(trace.block_tokens, limits.block_tokens)
        self._stations = [
            _Station(self, slot, Engine(timer, limits, tells=True), "prefill" if slot < split.num_prefill else "decode")
            for slot in range(num_servers)
        ]
        self._views = [station.view for station in self._stations]
        self._meter = Meter()
        self._pending: list[_Pending] = []
        self._kept = [0] * num_servers
        self._prompts: dict[int, Work] = {}
        """Prompts computed whose request still decodes."""
        self.num_changes = 0
        self.waited_s: list[float] = []
        """Of every computed prompt, from its end to the start of its transfer."""
        self._tell_roles()

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self) -> Outcomes:
        """Replays the trace to its last answer."""
        if len(self.trace):
            self.kernel.at(self.trace.arrival_s[0] / self.settings.speedup, self._arrival)
            if self.split.policy in _LOOK_S:
                self.kernel.after(_LOOK_S[self.split.policy], self._look, priority=6)
            if self.settings.samples:
                self.kernel.at(0.0, self._sample, priority=9)
        self.kernel.run()
        outcomes = self.outcomes
        outcomes.num_preemptions = sum(station.engine.num_preemptions for station in self._stations)
        outcomes.busy_s = [station.engine.busy_s for station in self._stations]
        return outcomes

    @property
    def roles(self) -> list[Role]:
        return [view.role for view in self._views]

    @property
    def engines(self) -> Sequence[Engine]:
        return [station.engine for station in self._stations]

    def num_kept(self, slot: int) -> int:
        """Computed prompts that lie on a server until they are fetched."""
        return self._kept[slot]

    def _step_s(self, num_streams: int, kv_tokens: int) -> float:
        fixed_s, per_kv_s = self._timer.decode(max(1, num_streams))
        return fixed_s + per_kv_s * kv_tokens

    # --- prompts -----------------------------------------------------------------------------------------------------

    def _arrival(self) -> None:
        number, trace, now = self._next, self.trace, self.kernel.now
        self._next += 1
        if self._next < len(trace):
            self.kernel.at(trace.arrival_s[self._next] / self.settings.speedup, self._arrival)
        prompt = trace.prompt_tokens[number]
        if not self._stations[0].engine.fits(prompt, trace.output_tokens[number]):
            self._shed(number, "too_long")
            return
        self._meter.arrived()
        features = Features(
            request_id=str(number), blocks=trace.blocks[number], block_tokens=trace.block_tokens or 64,
            prompt_tokens=prompt, output_tokens=1, priority=trace.priority[number], session=trace.session[number],
            slo_ttft_s=self.settings.slo_ttft_s, adapter=trace.adapter[number], model=trace.model[number],
        )  # fmt: skip
        self._carry_out(self.core.arrive(features, now))
        self._watch_queue()

    def _carry_out(self, decision: Decision) -> None:
        number, now = int(decision.request_id), self.kernel.now
        if decision.kind == "shed":
            self._shed(number, decision.reason)
        if decision.kind != "go":
            return
        trace, station = self.trace, self._stations[decision.slot]
        blocks = self._map.to_engine(trace.blocks[number])
        self.outcomes.sent(number, decision)
        work = Work(
            number, trace.prompt_tokens[number], 1, blocks, trace.priority[number], adapter=trace.adapter[number],
            keeps=True,
        )  # fmt: skip
        end_s = station.engine.submit(work, now)
        if end_s is not None:
            station.sync(end_s)
        station.begin(now)
        self._tell_evicted(station.slot, station.engine, self._map, now)

    def deliver(self, station: _Station, firsts: Sequence[Work], done: Sequence[Work], now: float) -> None:
        """Iterations of a server ended: prompts wait for a decode server, answers are over."""
        for work in firsts:
            if work.keeps:
                self.core.first_byte(str(work.number), now)
        for work in done:
            if work.keeps:
                if self.split.first_token == "decode":
                    work.first_s = -1.0
                self._meter.computed(work.prompt_tokens - work.cached_tokens)
                self._kept[station.slot] += 1
                self._pending.append(_Pending(work, station, now))
            else:
                self._answered(work)
        self._tell_evicted(station.slot, station.engine, self._map, now)
        self._place(now)
        self._settle_roles(station)
        self._watch_queue()

    def _released(self, work: Work, source: _Station, now: float) -> None:
        """A prompt's cache is no longer needed where it was computed."""
        self._kept[source.slot] -= 1
        decisions = self.core.finish(
            str(work.number), now, outcome_ok=True, prompt_tokens=work.prompt_tokens,
            cached_tokens=max(0, work.cached_tokens), completion_tokens=1,
        )  # fmt: skip
        for decision in decisions:
            self._carry_out(decision)
        self._settle_roles(source)

    # --- decodes -----------------------------------------------------------------------------------------------------

    def _place(self, now: float) -> None:
        """Sends computed prompts on, first come, first served. Behind one that finds no room only those may pass whose
        own server decodes: they need none."""
        left: list[_Pending] = []
        for pending in self._pending:
            may_try = not left or pending.source.view.role == "decode"
            if not may_try or not self._sent_on(pending, now):
                left.append(pending)
        self._pending = left

    def _sent_on(self, pending: _Pending, now: float) -> bool:
        work, source = pending.work, pending.source
        output = self.trace.output_tokens[work.number]
        if work.first_s >= 0 and output == 1:
            self._fetched(work, source, now)
            self._answered(work)
            return True
        self._look_at_all(now)
        slot = self._policy.place(work.prompt_tokens, self._meter.output_tokens, self._views, source.slot)
        if slot < 0:
            return False
        target = self._stations[slot]
        if target.view.role == "prefill":
            self._change(target, "decode")
            if target.view.changing:
                return False
        if target is source:
            if not source.engine.has_place:
                return False
            source.sync(source.engine.go_on(work, output, now))
            self._released(work, source, now)
            source.begin(now)
            return True
        follower = Work(work.number, work.prompt_tokens, output, work.blocks, work.priority, adapter=work.adapter)
        follower.first_s, follower.cached_tokens, follower.arrived_s = work.first_s, work.cached_tokens, work.arrived_s
        missing = target.engine.reserve(follower, now)
        if target.engine.is_busy:
            target.sync(target.engine.interrupt(now))
        if missing < 0:
            return False
        target.coming_tokens += work.prompt_tokens
        self._tell_evicted(target.slot, target.engine, self._map, now)
        self.waited_s.append(now - pending.since_s)
        self._meter.sent(missing * self.split.kv_bytes / self.split.link_bytes_s)
        self.links.start(
            source.slot, slot, missing * self.split.kv_bytes, lambda: self._arrived(work, source, follower, target)
        )
        return True

    def _arrived(self, work: Work, source: _Station, follower: Work, target: _Station) -> None:
        now = self.kernel.now
        target.coming_tokens -= work.prompt_tokens
        target.sync(target.engine.join(follower, now))
        target.begin(now)
        self._fetched(work, source, now)
        self._place(now)
        self._watch_queue()

    def _fetched(self, work: Work, source: _Station, now: float) -> None:
        source.engine.let_go(work)
        if source.engine.is_busy:
            source.sync(source.engine.interrupt(now))
        self._released(work, source, now)
        source.begin(now)

    def _answered(self, work: Work) -> None:
        self.outcomes.over(work, self.trace.arrival_s[work.number] / self.settings.speedup)
        self._meter.answered(work.prompt_tokens, work.output_tokens)
        self._num_over += 1

    # --- roles -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self.kernel.now
        self._look_at_all(now)
        costs = self.core.service.typical
        demand = self._meter.look(now, costs.overhead_s, costs.prefill_s, self.core.num_waiting, len(self._pending))
        known = costs.is_warm or now > _LEARNING_S
        slot = self._policy.turn(self._views, demand) if known else -1
        if slot >= 0:
            station = self._stations[slot]
            self._change(station, "decode" if station.view.role == "prefill" else "prefill")
            self._settle_roles(station)
            self._place(now)
        if not self.is_over:
            self.kernel.after(_LOOK_S[self.split.policy], self._look, priority=6)

    def _look_at_all(self, now: float) -> None:
        for station, replica in zip(self._stations, self.core.replicas, strict=True):
            queued_s = replica.backlog_s(now) + replica.num_unanswered * replica.model.overhead_s
            station.look(now, self._meter.output_tokens, queued_s)

    def _change(self, station: _Station, role: Role) -> None:
        """Its role is another from now on; it takes work in it once it may."""
        view = station.view
        if sum(1 for other in self._views if other.role == view.role) <= 1:
            raise ValueError(f"{station.id} is the last of its role")
        view.role = role
        view.changing = role == "prefill" or self.split.role_change_s > 0.0
        self.num_changes += 1
        self._tell_roles()

    def _settle_roles(self, station: _Station) -> None:
        """What it had to do in its old role is done: it takes the new one up."""
        view, engine = station.view, station.engine
        if not view.changing:
            return
        busy = station.has_prompts if view.role == "decode" else engine.num_decoding + engine.num_coming > 0
        if busy or (view.role == "prefill" and (engine.num_waiting or engine.num_running)):
            return
        role = view.role
        self.kernel.after(self.split.role_change_s, lambda: self._take_up(station, role), priority=2)

    def _take_up(self, station: _Station, role: Role) -> None:
        if station.view.changing and station.view.role == role:
            station.view.changing = False
            self._tell_roles()
            self._place(self.kernel.now)
            self._watch_queue()

    def _tell_roles(self) -> None:
        """To the router of prompts, everybody else is draining: what it knows of their caches stays known."""
        infos = []
        for station in self._stations:
            limits, view = station.engine.limits, station.view
            infos.append(
                ReplicaInfo(
                    id=station.id, slot=station.slot, max_concurrency=limits.max_seqs, kv_tokens=view.capacity_tokens,
                    draining=view.role != "prefill" or view.changing, adapters=self._adapters,
                    max_adapters=limits.max_adapters, adapter_load_s=limits.adapter_load_s,
                )
            )  # fmt: skip
        self.core.set_replicas(infos, self.kernel.now)

    # --- what goes on beside -----------------------------------------------------------------------------------------

    def _shed(self, number: int, reason: str) -> None:
        self.outcomes.shed(number, reason)
        self._num_over += 1
