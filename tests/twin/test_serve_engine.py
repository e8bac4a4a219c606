"""The stand-in against itself step by step, and against a scheduler that keeps every token."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.profiles.model import Curve, StepModel, StepTimer, line
from roadbed.twin.serve_engine import Engine, Limits, Work

MODEL = StepModel(
    fixed_s=0.001, dense=line(1e-4), chunk=line(1e-5), context=Curve((0.0,), (1e-6,)), decode_base=line(1e-5, 1e-3),
    decode_kv=Curve((0.0,), (1e-6,)),
)  # fmt: skip
Asked = tuple[float, int, int, int, int]
"""(arrival, prompt, output, chain of prefix blocks or −1, priority)"""

REQUESTS = st.lists(
    st.tuples(st.floats(0, 0.5), st.integers(1, 40), st.integers(1, 30), st.integers(-1, 2), st.integers(1, 9)),
    min_size=1,
    max_size=25,
).map(sorted)
LIMITS = st.builds(
    Limits,
    kv_blocks=st.integers(18, 40),
    block_tokens=st.just(4),
    max_batched_tokens=st.integers(8, 64),
    max_seqs=st.integers(1, 8),
    prefix_caching=st.booleans(),
    order=st.sampled_from(["fcfs", "priority"]),
    admission=st.sampled_from(["prompt", "chunk", "displace"]),
)


def works_of(requests: Sequence[Asked], block_tokens: int) -> list[Work]:
    works = []
    for number, (_, prompt, output, chain, priority) in enumerate(requests):
        full = prompt // block_tokens
        blocks = (
            [chain * 100 + at for at in range(full)] if chain >= 0 else [1000 + number * 100 + at for at in range(full)]
        )
        works.append(Work(number, prompt, output, blocks, priority))
    return works


def play(requests: Sequence[Asked], limits: Limits, *, step_by_step: bool = False) -> tuple[list[Work], Engine]:
    """Runs everything to its end, checking what must hold at every turn."""
    engine = Engine(StepTimer(MODEL), limits, step_by_step=step_by_step)
    works = works_of(requests, limits.block_tokens)
    end_s: float | None = None
    at, ended = 0, []
    while at < len(works) or end_s is not None:
        if end_s is not None and (at == len(works) or end_s <= requests[at][0]):
            firsts, done = engine.end(end_s)
            assert all(work.first_s == end_s for work in firsts)
            ended += [work.number for work in done]
            end_s = engine.begin(end_s)
        else:
            now = requests[at][0]
            end_s = engine.submit(works[at], now)
            if end_s is None:
                end_s = engine.begin(now)
            at += 1
        cache = engine.cache
        assert cache.num_private >= 0
        assert cache.num_private + len(cache.shared) + len(cache.idle) <= cache.capacity
        assert engine.num_running <= limits.max_seqs
    assert sorted(ended) == list(range(len(works)))  # each exactly once
    assert engine.cache.num_private == 0
    assert not engine.cache.shared
    assert engine.num_running == engine.num_waiting == 0
    return works, engine


@settings(max_examples=150, deadline=None)
@given(REQUESTS, LIMITS)
def test_skipping_is_stepping(requests: list[Asked], limits: Limits) -> None:
    quick, fast = play(requests, limits)
    slow, one_by_one = play(requests, limits, step_by_step=True)
    assert fast.tick == one_by_one.tick
    assert fast.num_preemptions == one_by_one.num_preemptions
    for ours, theirs in zip(quick, slow, strict=True):
        assert ours.first_s == pytest.approx(theirs.first_s, rel=1e-9)
        assert ours.end_s == pytest.approx(theirs.end_s, rel=1e-9)
        assert ours.cached_tokens == theirs.cached_tokens
        assert ours.scheduled_s >= ours.arrived_s
        assert ours.end_s > ours.scheduled_s


class Plain:
    """The same rules, every token and block looked at: no arithmetic, no residues, no closed forms."""

    def __init__(self, requests: Sequence[Asked], limits: Limits) -> None:
        self.limits = limits
        self.works = works_of(requests, limits.block_tokens)
        self.arrivals = [request[0] for request in requests]
        self.waiting: list[int] = []
        self.running: list[int] = []
        self.decoding: set[int] = set()
        self.tokens = dict.fromkeys(range(len(requests)), 0)
        self.generated = dict.fromkeys(range(len(requests)), 0)
        self.held: dict[int, list[int]] = {number: [] for number in range(len(requests))}
        self.idle: list[int] = []
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.cached: dict[int, int] = {}
        self.num_preempted = dict.fromkeys(range(len(requests)), 0)

    def used(self) -> int:
        named = {block for held in self.held.values() for block in held if block >= 0}
        return len(named) + sum(1 for held in self.held.values() for block in held if block < 0)

    def in_use(self, block: int) -> bool:
        return any(block in held for held in self.held.values())

    def grow(self, number: int, tokens: int) -> bool:
        size = self.limits.block_tokens
        wanted = -(-tokens // size) - len(self.held[number])
        short = wanted - (self.limits.kv_blocks - self.used() - len(self.idle))
        if short > len(self.idle):
            return False
        del self.idle[: max(0, short)]
        work = self.works[number]
        for _ in range(wanted):
            self.held[number].append(-1)
        if self.limits.prefix_caching:
            for at in range(self.tokens[number] // size, min(len(work.blocks), tokens // size)):
                block = work.blocks[at]
                if not self.in_use(block) and block not in self.idle:
                    self.held[number][at] = block
        return True

    def give_back(self, number: int) -> None:
        held, self.held[number] = self.held[number], []
        for block in reversed(held):
            if block >= 0 and not self.in_use(block):
                self.idle.append(block)

    def preempt(self, number: int) -> None:
        self.running.remove(number)
        self.decoding.discard(number)
        self.give_back(number)
        self.tokens[number] = 0
        self.num_preempted[number] += 1
        self.waiting.insert(0, number)

    def target(self, number: int) -> int:
        return self.works[number].prompt_tokens + self.generated[number]

    def decode(self) -> bool:
        """Room for all decodes together, the last admitted giving way. Whether somebody had to."""
        preempted = False
        while True:
            decodes = [number for number in self.running if number in self.decoding]
            more = sum(1 for number in decodes if self.tokens[number] % self.limits.block_tokens == 0)
            if more <= self.limits.kv_blocks - self.used():
                break
            self.preempt(self.running[-1])
            preempted = True
        for number in decodes:
            assert self.grow(number, self.tokens[number] + 1)
        return preempted

    def admit(self, budget: int, number: int) -> int:
        """Tokens of a waiting one's first chunk, 0 where it has no room."""
        size = self.limits.block_tokens
        work, matched = self.works[number], 0
        most = min(len(work.blocks), (self.target(number) - 1) // size) if self.limits.prefix_caching else 0
        while matched < most and (self.in_use(work.blocks[matched]) or work.blocks[matched] in self.idle):
            matched += 1
        new = min(budget, self.target(number) - matched * size)
        tokens = self.target(number) if self.limits.admission == "prompt" else matched * size + new
        from_idle = sum(1 for block in work.blocks[:matched] if block in self.idle)
        if -(-tokens // size) - matched > self.limits.kv_blocks - self.used() - from_idle:
            return 0
        self.waiting.remove(number)
        self.running.append(number)
        self.held[number] = list(work.blocks[:matched])
        self.idle = [block for block in self.idle if block not in self.held[number]]
        self.cached.setdefault(number, matched * size)
        self.tokens[number] = matched * size
        assert self.grow(number, matched * size + new)
        return new

    def fill(self, budget: int, preempted: bool) -> list[tuple[int, int]]:
        chunks: list[tuple[int, int]] = []
        filling = [number for number in self.running if number not in self.decoding]
        assert len(filling) <= 1
        for number in filling if budget > 0 else []:
            new = min(budget, self.target(number) - self.tokens[number])
            if not self.grow(number, self.tokens[number] + new):
                self.preempt(number)
                return chunks
            chunks.append((new, self.tokens[number]))
            self.tokens[number] += new
            budget -= new
        while budget > 0 and not preempted and self.waiting and len(self.running) < self.limits.max_seqs:
            number = self.waiting[0]
            new, most = self.admit(budget, number), budget
            while not new and self.limits.admission == "displace" and self.running:
                victim = self.running[-1]
                if self.num_preempted[victim] >= 64:
                    break
                if victim in self.decoding:
                    budget += 1
                else:
                    budget += chunks.pop()[0]
                self.preempt(victim)
                preempted = True
                new = self.admit(most, number)
            if not new:
                break
            chunks.append((new, self.tokens[number]))
            self.tokens[number] += new
            budget -= new
        return chunks

    def step(self, now: float) -> float | None:
        preempted = self.decode()
        decodes = [number for number in self.running if number in self.decoding]
        chunks = self.fill(self.limits.max_batched_tokens - len(decodes), preempted)
        decodes = [number for number in self.running if number in self.decoding]
        ending = [n for n in self.running if n not in self.decoding and self.tokens[n] == self.target(n)]
        if not decodes and not chunks:
            return None
        timer, kv = StepTimer(MODEL), sum(self.tokens[number] + 1 for number in decodes)
        if chunks:
            now += timer.mixed(chunks, len(ending), len(decodes), kv)
        else:
            fixed, per_kv = timer.decode(len(decodes))
            now += fixed + per_kv * kv
        for number in decodes:
            self.tokens[number] += 1
        self.decoding |= set(ending)
        for number in sorted(decodes) + ending:
            self.generated[number] += 1
            self.first.setdefault(number, now)
            if self.generated[number] == self.works[number].output_tokens:
                self.last[number] = now
                self.running.remove(number)
                self.decoding.discard(number)
                self.give_back(number)
        return now

    def play(self) -> None:
        now, at = 0.0, 0
        while at < len(self.works) or self.running or self.waiting:
            if not self.running and not self.waiting:
                now = max(now, self.arrivals[at])
            while at < len(self.works) and self.arrivals[at] <= now:
                self.waiting.append(at)
                at += 1
            after = self.step(now)
            assert after is not None
            now = after


@settings(max_examples=150, deadline=None)
@given(REQUESTS, LIMITS)
def test_it_does_what_a_plain_scheduler_does(requests: list[Asked], limits: Limits) -> None:
    if limits.order == "priority" or len({request[0] for request in requests}) < len(requests):
        return
    works, _ = play(requests, limits)
    plain = Plain(requests, limits)
    plain.play()
    for work in works:
        assert work.cached_tokens == plain.cached[work.number]
        assert work.first_s == pytest.approx(plain.first[work.number], rel=1e-9)
        assert work.end_s == pytest.approx(plain.last[work.number], rel=1e-9)


ROOMY = Limits(kv_blocks=1000, block_tokens=4, max_batched_tokens=16, max_seqs=4)


def test_a_long_prompt_is_cut_into_chunks_beside_decodes() -> None:
    works, engine = play([(0.0, 4, 30, -1, 5), (0.0005, 40, 2, -1, 5)], ROOMY)
    timer = StepTimer(MODEL)
    first_s = timer.mixed([(4, 0)], 1, 0, 0)
    assert works[0].first_s == pytest.approx(first_s)
    now = (
        first_s + timer.mixed([(15, 0)], 0, 1, 5) + timer.mixed([(15, 15)], 0, 1, 6) + timer.mixed([(10, 30)], 1, 1, 7)
    )
    assert works[1].first_s == pytest.approx(now)
    assert engine.tick == 30


def test_the_urgent_go_first() -> None:
    limits = Limits(kv_blocks=100, block_tokens=4, max_batched_tokens=16, max_seqs=1, order="priority")
    works, _ = play([(0.0, 8, 20, -1, 5), (0.001, 8, 2, -1, 9), (0.002, 8, 2, -1, 5), (0.003, 8, 2, -1, 1)], limits)
    assert sorted(range(4), key=lambda at: works[at].first_s) == [0, 3, 2, 1]


def test_the_least_urgent_is_preempted() -> None:
    limits = Limits(kv_blocks=8, block_tokens=4, max_batched_tokens=64, max_seqs=4, order="priority")
    works, engine = play([(0.0, 12, 16, -1, 9), (0.001, 12, 16, -1, 1)], limits)
    assert works[0].num_preempted >= 1
    assert works[1].num_preempted == 0
    assert engine.num_preemptions == works[0].num_preempted


def test_a_preempted_request_keeps_its_first_token() -> None:
    limits = Limits(kv_blocks=8, block_tokens=4, max_batched_tokens=64, max_seqs=4)
    works, engine = play([(0.0, 12, 16, -1, 5), (0.001, 12, 16, -1, 5)], limits)
    assert engine.num_preemptions >= 1
    assert works[1].first_s < works[0].end_s < works[1].end_s


def test_a_prefix_is_computed_once() -> None:
    works, _ = play([(0.0, 40, 1, 0, 5), (0.4, 40, 1, 0, 5), (0.45, 21, 1, 0, 5)], ROOMY)
    assert [work.cached_tokens for work in works] == [0, 36, 20]


def test_without_prefix_caching_nothing_is_found() -> None:
    limits = Limits(kv_blocks=100, block_tokens=4, max_batched_tokens=64, max_seqs=4, prefix_caching=False)
    works, _ = play([(0.0, 40, 1, 0, 5), (0.4, 40, 1, 0, 5)], limits)
    assert [work.cached_tokens for work in works] == [0, 0]


def test_an_arrival_cuts_iterations_short() -> None:
    engine = Engine(StepTimer(MODEL), ROOMY)
    assert engine.submit(Work(0, 4, 30), 0.0) is None
    end_s = engine.begin(0.0)
    assert end_s is not None
    engine.end(end_s)
    far_s = engine.begin(end_s)
    assert far_s is not None
    fixed, per_kv = StepTimer(MODEL).decode(1)
    now = end_s + fixed * 1.5
    cut_s = engine.submit(Work(1, 4, 1), now)
    assert cut_s == pytest.approx(end_s + 2 * fixed + per_kv * (5 + 6))
    assert cut_s < far_s


@pytest.mark.parametrize("work", [Work(0, 0, 5), Work(0, 5, 0), Work(0, 4000, 2)])
def test_what_can_never_run_is_refused(work: Work) -> None:
    with pytest.raises(ValueError, match="can't run"):
        Engine(StepTimer(MODEL), ROOMY).submit(work, 0.0)


def test_a_budget_below_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least max_seqs"):
        Engine(StepTimer(MODEL), Limits(kv_blocks=10, block_tokens=4, max_batched_tokens=3, max_seqs=4))


# --- computed elsewhere ----------------------------------------------------------------------------------------------

ROOMIER = Limits(kv_blocks=2000, block_tokens=4, max_batched_tokens=64, max_seqs=32)
Event = tuple[float, str, Work]


def drive(events: list[Event], limits: Limits, *, step_by_step: bool = False) -> Engine:
    """submit and join events in order of time; a joined request was reserved at its join, in no time."""
    engine = Engine(StepTimer(MODEL), limits, step_by_step=step_by_step)
    end_s: float | None = None
    left = sorted(events, key=lambda event: event[0])
    while left or end_s is not None:
        if end_s is not None and (not left or end_s <= left[0][0]):
            engine.end(end_s)
            end_s = engine.begin(end_s)
        else:
            now, kind, work = left.pop(0)
            if kind == "submit":
                end_s = engine.submit(work, now)
            else:
                assert engine.reserve(work, now) >= 0
                end_s = engine.join(work, now)
            if end_s is None:
                end_s = engine.begin(now)
        running = [*engine._decoding.values(), *engine._filled, *([engine._filling] if engine._filling else [])]
        assert len({work.adapter for work in running if work.adapter}) <= limits.max_adapters
    return engine


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.lists(st.booleans(), min_size=25, max_size=25), st.booleans())
def test_skipping_is_stepping_when_caches_come_from_elsewhere(
    requests: list[Asked], joins: list[bool], had_first: bool
) -> None:
    results = []
    for step_by_step in (False, True):
        works = works_of(requests, 4)
        events: list[Event] = []
        for work, asked, joined in zip(works, requests, joins, strict=False):
            if joined and had_first:
                work.first_s = asked[0]
                work.output_tokens += 1
            events.append((asked[0], "join" if joined else "submit", work))
        engine = drive(events, ROOMIER, step_by_step=step_by_step)
        assert engine.cache.num_private == engine.num_coming == 0
        assert not engine.cache.shared
        results.append([(work.first_s, work.end_s) for work in works])
    for ours, theirs in zip(*results, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_a_kept_prompt_holds_its_blocks_until_it_is_let_go() -> None:
    engine = Engine(StepTimer(MODEL), Limits(kv_blocks=10, block_tokens=4, max_batched_tokens=64, max_seqs=4))
    first, second = Work(1, 22, 1, [1, 2, 3, 4, 5], keeps=True), Work(2, 22, 1, [6, 7, 8, 9, 10], keeps=True)
    engine.submit(first, 0.0)
    engine.submit(second, 0.0)
    end_s = engine.begin(0.0)
    assert end_s is not None
    assert engine.end(end_s)[1] == [first]
    assert engine.begin(end_s) is None, "no room for the second while the first is kept"
    engine.let_go(first)
    assert engine.cache.num_available == 10
    assert engine.begin(end_s) is not None
    with pytest.raises(ValueError, match="keeps"):
        engine.submit(Work(3, 4, 2, keeps=True), 0.0)


def test_a_kept_prompt_may_go_on_where_it_is() -> None:
    engine = Engine(StepTimer(MODEL), Limits(kv_blocks=10, block_tokens=4, max_batched_tokens=64, max_seqs=4))
    work = Work(1, 22, 1, [1, 2, 3, 4, 5], keeps=True)
    engine.submit(work, 0.0)
    now = engine.begin(0.0)
    assert now is not None
    engine.end(now)
    assert engine.go_on(work, 5, now) is None
    end_s = engine.begin(now)
    assert end_s is not None
    assert engine.end(end_s)[1] == [work]
    assert work.end_s > work.first_s >= 0
    assert engine.cache.num_available == 10


def test_what_is_there_already_need_not_be_fetched_and_room_is_room() -> None:
    engine = Engine(StepTimer(MODEL), Limits(kv_blocks=10, block_tokens=4, max_batched_tokens=64, max_seqs=2))
    one, two, three = Work(1, 22, 5, [1, 2, 3, 4, 5]), Work(2, 22, 5, [1, 2, 3, 6, 7]), Work(3, 16, 5, [8, 9, 10, 11])
    assert engine.reserve(one, 0.0) == 22
    engine.join(one, 0.0)
    assert engine.reserve(two, 0.0) == 22 - 12
    assert engine.reserve(three, 0.0) == -1, "two run or come already"
    assert engine.num_coming == 2


# --- adapters --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=25, max_size=25), st.integers(1, 3))
def test_no_more_adapters_run_than_there_are_places_and_skipping_is_stepping(
    requests: list[Asked], adapters: list[str], places: int
) -> None:
    limits = Limits(
        kv_blocks=30, block_tokens=4, max_batched_tokens=32, max_seqs=6, max_adapters=places, adapter_load_s=0.03
    )
    results = []
    for step_by_step in (False, True):
        works = works_of(requests, 4)
        for work, adapter in zip(works, adapters, strict=False):
            work.adapter = adapter
            work.blocks = [hash((block, adapter)) for block in work.blocks]
        events = [(asked[0], "submit", work) for asked, work in zip(requests, works, strict=True)]
        engine = drive(events, limits, step_by_step=step_by_step)
        assert all(work.end_s >= 0 for work in works)
        assert engine.adapters.num_busy == 0
        results.append([(work.first_s, work.end_s) for work in works])
    for ours, theirs in zip(*results, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_loading_an_adapter_delays_everybody_once() -> None:
    limits = Limits(kv_blocks=99, block_tokens=4, max_batched_tokens=64, max_seqs=8, adapter_load_s=2.0)
    works = [Work(1, 4, 1, adapter="a"), Work(2, 4, 1), Work(3, 4, 1, adapter="a")]
    drive([(0.0, "submit", works[0]), (0.0, "submit", works[1]), (5.0, "submit", works[2])], limits)
    assert works[0].first_s > 2.0
    assert works[2].first_s - 5.0 < 0.1, "still there"


def test_who_finds_no_place_for_its_adapter_lets_others_pass() -> None:
    limits = Limits(kv_blocks=99, block_tokens=4, max_batched_tokens=64, max_seqs=8, adapter_load_s=0.0)
    works = [Work(1, 4, 50, adapter="a"), Work(2, 4, 5, adapter="b"), Work(3, 4, 5)]
    drive([(0.001 * at, "submit", work) for at, work in enumerate(works)], limits)
    assert works[2].end_s < works[0].end_s <= works[1].first_s
