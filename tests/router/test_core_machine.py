"""Random streams of events: whatever happens, the account is exact and every request gets one terminal decision."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roadbed.router.account import MemoryAccount
from roadbed.router.base import Decision, ReplicaReport
from roadbed.router.core import RouterCore
from roadbed.router.policies import POLICIES
from tests.router.requests import info, request

MAX_QUEUE = 3
SLOTS = range(4)


class CoreMachine(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(sorted(POLICIES)))
    def start(self, policy: str) -> None:
        self.account = MemoryAccount()
        self.core = RouterCore(account=self.account.view(), policy=policy, max_queue=MAX_QUEUE, max_wait_s=20.0)
        self.twin = RouterCore(account=MemoryAccount().view(), policy=policy, max_queue=MAX_QUEUE, max_wait_s=20.0)
        self.now = 0.0
        self.count = 0
        self.live: dict[str, int] = {}
        self.waiting: set[str] = set()
        self.shed: set[str] = set()
        self.tried: dict[str, set[int]] = {}
        self.open: set[int] = set()
        self.limits: dict[int, int] = {}

    def both(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Every event goes to two cores: same events, same decisions."""
        first = getattr(self.core, method)(*args, **kwargs)
        assert getattr(self.twin, method)(*args, **kwargs) == first
        return first

    def take(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            name = decision.request_id
            assert name not in self.live, "dispatched twice"
            assert name not in self.shed, "decided after its end"
            if decision.kind == "wait":
                self.waiting.add(name)
                continue
            self.waiting.discard(name)
            if decision.kind == "shed":
                self.shed.add(name)
                assert decision.retry_after_s >= 0
            else:
                assert decision.slot in self.open, "sent to a draining or absent replica"
                assert decision.slot not in self.tried.get(name, set()), "sent where it had failed"
                self.live[name] = decision.slot
                assert sum(slot == decision.slot for slot in self.live.values()) <= self.limits[decision.slot]

    @rule(
        pool=st.dictionaries(st.sampled_from(SLOTS), st.tuples(st.booleans(), st.integers(1, 9)), max_size=4),
        rename=st.booleans(),
    )
    def replicas(self, pool: dict[int, tuple[bool, int]], rename: bool) -> None:
        tag = str(self.count) if rename else ""
        infos = [
            info(slot, name=f"r{slot}{tag}", concurrency=concurrency, kv_tokens=3000, draining=draining)
            for slot, (draining, concurrency) in pool.items()
        ]
        self.open = {entry.slot for entry in infos if not entry.draining}
        self.limits = {entry.slot: entry.max_concurrency + 1 for entry in infos}
        self.both("set_replicas", infos, self.now)

    @rule(
        path=st.lists(st.integers(0, 1), max_size=5), priority=st.integers(1, 9), output=st.integers(0, 500),
        session=st.sampled_from([None, "s", "t"]), slo=st.sampled_from([None, 0.1]), stream=st.booleans(),
        patience=st.sampled_from([None, 0.0, 5.0]),
    )  # fmt: skip
    def arrive(self, path: list[int], patience: float | None, **wishes: Any) -> None:
        self.count += 1
        name = f"q{self.count}"
        blocks = [hash(tuple(path[: depth + 1])) & 0xFFFF for depth in range(len(path))]
        features = request(
            name, blocks=blocks, priority=wishes["priority"], output=wishes["output"], session=wishes["session"],
            slo_ttft_s=wishes["slo"], stream=wishes["stream"],
            deadline=None if patience is None else self.now + patience,
        )  # fmt: skip
        self.take([self.both("arrive", features, self.now)])

    def pick(self, which: int) -> str:
        return sorted(self.live)[which % len(self.live)]

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 50))
    def first_byte(self, which: int) -> None:
        self.both("first_byte", self.pick(which), self.now)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 50), ok=st.booleans(), cached=st.sampled_from([None, 0, 64, 10**6]), again=st.booleans())
    def finish(self, which: int, ok: bool, cached: int | None, again: bool) -> None:
        name = self.pick(which)
        del self.live[name]
        usage = {"outcome_ok": ok, "prompt_tokens": 300, "cached_tokens": cached, "completion_tokens": which}
        self.take(self.both("finish", name, self.now, **usage))
        if again:
            self.take(self.both("finish", name, self.now, **usage))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 50))
    def failed(self, which: int) -> None:
        name = self.pick(which)
        self.tried.setdefault(name, set()).add(self.live.pop(name))
        self.take([self.both("failed", name, self.now)])

    @rule(which=st.integers(0, 50))
    def cancel(self, which: int) -> None:
        names = sorted(self.live.keys() | self.waiting)
        if names:
            name = names[which % len(names)]
            self.live.pop(name, None)
            self.waiting.discard(name)
            self.shed.add(name)
            self.take(self.both("cancel", name, self.now))

    @rule(step=st.sampled_from([0.0, 0.01, 0.3, 3.0, 25.0]))
    def tick(self, step: float) -> None:
        self.now += step
        self.take(self.both("tick", self.now))

    @rule(slot=st.sampled_from(SLOTS), running=st.integers(0, 3))
    def report(self, slot: int, running: int) -> None:
        self.both(
            "report", slot, ReplicaReport(at=self.now, num_running=running, num_waiting=0, kv_usage=0.5), self.now
        )

    @rule(slot=st.sampled_from(SLOTS), blocks=st.lists(st.integers(0, 0xFFFF), max_size=4), removed=st.booleans())
    def news(self, slot: int, blocks: list[int], removed: bool) -> None:
        self.both("prefix_news", slot, blocks, self.now, removed=removed)

    @invariant()
    def exact(self) -> None:
        if not hasattr(self, "core"):
            return
        for slot in SLOTS:
            row = self.account.total(slot)
            assert min(row) >= 0
            assert row[0] == sum(live == slot for live in self.live.values())
            if row[0] == 0:
                assert row == [0, 0, 0, 0]
        for replica in self.core.replicas:
            assert 0 <= replica.num_unanswered <= replica.own_requests
            assert replica.own_requests or not replica.active
        assert self.core.num_live == len(self.live)
        assert self.core.num_waiting == len(self.waiting - {d.request_id for d in self.core._pending}) <= MAX_QUEUE
        self.core._pool.prefix.check()

    def teardown(self) -> None:
        """Everything that waits is decided by its deadline, everything that runs can end."""
        if not hasattr(self, "core"):
            return
        for name in list(self.live):
            del self.live[name]
            self.take(self.both("cancel", name, self.now))
        self.now += 1000.0
        self.take(self.both("tick", self.now))
        assert not self.waiting
        for name in list(self.live):
            self.core.cancel(name, self.now)
        assert all(self.account.total(slot) == [0, 0, 0, 0] for slot in SLOTS)


TestCoreMachine = CoreMachine.TestCase
TestCoreMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_the_seed_decides_between_equals() -> None:
    def slots(seed: int) -> list[int]:
        core = RouterCore(account=MemoryAccount().view(), seed=seed)
        core.set_replicas([info(slot, concurrency=64) for slot in range(8)], 0.0)
        return [core.arrive(request(f"{i}"), 0.0).slot for i in range(16)]

    assert slots(1) == slots(1)
    assert len({tuple(slots(seed)) for seed in range(5)}) > 1
