"""One modelled engine: a continuous-batching scheduler in vLLM's manner, which skips what it need not look at.

An iteration gives one token to every decoding request, then fills the token budget with prompts: the one left half
done, then waiting ones, by priority and arrival (chunked prefill). Prompt blocks already in the cache are not computed.
When blocks run out the request admitted last is preempted: it loses its blocks and computes everything again.

While every running request decodes and nobody can be admitted, iterations differ only by one token each, so their times
are an arithmetic series: any number of them is one expression (`StepTimer.decode`), cut short where a request ends, the
cache fills, or somebody arrives. Counters are kept so that an iteration costs what its prompts cost, however many
requests decode: a request's tokens follow from the tick it began at, and its next block from that tick modulo block
size.
"""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from roadbed.profiles.model import StepTimer
from roadbed.router.adapters import AdapterSet
from roadbed.twin.serve_cache import KvCache

_MOST_STEPS = 1 << 20
_MOST_DISPLACED = 64
"""How often a request can be made to give way to waiting ones: two that do not fit together would go on for ever."""
_MOST_PASSED = 256
"""Waiting requests looked at beyond those whose adapters find no place."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is started with."""

    kv_blocks: int
    block_tokens: int
    max_batched_tokens: int = 8192
    max_seqs: int = 256
    prefix_caching: bool = True
    order: Literal["fcfs", "priority"] = "fcfs"
    admission: Literal["prompt", "chunk", "displace"] = "prompt"
    """Who waits is admitted where its whole prompt has room (vLLM), or its first chunk (older vLLM). displace: where
    its first chunk has none, those admitted last make room, as in DynoSim; for comparison with that."""
    max_adapters: int = 1
    """Adapters (LoRA) loaded at once."""
    adapter_load_s: float = 0.5
    """What loading one adds to the iteration that first uses it, for everybody in it."""


class Work:
    """One request inside an engine. `blocks`: hashes of the prompt's full blocks of the engine's own size.

    first_s and end_s are set as they happen, −1 before; the token that ends the prompt is the first of output_tokens.
    cached_tokens: found in the cache when it was first scheduled, −1 before. keeps: its blocks stay after its last
    token, the only one, until `Engine.let_go`, as somebody will fetch them.
    """

    __slots__ = (
        "adapter", "arrived_s", "began_tick", "blocks", "cached_tokens", "computed", "end_s", "first_s", "generated",
        "held", "keeps", "num_preempted", "number", "output_tokens", "priority", "prompt_tokens", "scheduled_s",
        "target",
    )  # fmt: skip

    def __init__(
        self, number: int, prompt_tokens: int, output_tokens: int, blocks: Sequence[int] = (), priority: int = 5,
        *, adapter: str = "", keeps: bool = False,
    ) -> None:  # fmt: skip
        self.adapter = adapter
        self.keeps = keeps
        self.number = number
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.blocks = blocks
        self.priority = priority
        self.arrived_s = 0.0
        self.scheduled_s = self.first_s = self.end_s = -1.0
        self.cached_tokens = -1
        self.num_preempted = 0
        self.target = prompt_tokens
        """Tokens to compute before it decodes: the prompt and, after a preemption, what it had generated."""
        self.computed = 0
        """Of those, how many are in the cache."""
        self.generated = 0
        """Tokens generated up to the tick it began to decode at."""
        self.began_tick = 0
        self.held: list[int] = []
        """Its shared blocks."""


class Engine:
    """begin() plans iterations and says when they end, end() tells what they brought; in between, submit() may cut
    them short. One owner; time is an argument. `step_by_step` looks at every iteration, for comparison."""

    def __init__(self, timer: StepTimer, limits: Limits, *, tells: bool = False, step_by_step: bool = False) -> None:
        """Raises ValueError where the budget is smaller than the batch: a decode would have to wait its turn."""
        if limits.max_batched_tokens < limits.max_seqs or limits.max_seqs < 1 or limits.block_tokens < 1:
            raise ValueError("max_batched_tokens must be at least max_seqs, and both above 0")
        self.timer = timer
        self.limits = limits
        self.cache = KvCache(limits.kv_blocks, tells=tells)
        self.tick = 0
        """Iterations done."""
        self.num_preemptions = 0
        self.busy_s = 0.0
        self._most = 1 if step_by_step else _MOST_STEPS
        self._waiting: list[tuple[int, float, int, Work]] = []
        self._resumed: deque[Work] = deque()
        self._filling: Work | None = None
        """The one whose prompt did not fit into the iteration; it was admitted last."""
        self._filled: list[Work] = []
        """Those whose prompts end with the iteration under way."""
        self._decoding: dict[int, Work] = {}
        self._ends: list[tuple[int, int]] = []
        """(tick of the last token, number); some of them stale after a preemption."""
        self._grow = [0] * limits.block_tokens
        """By tick modulo block size: decoding requests that need another block in that tick."""
        self._base = 0
        """Σ (target − tick of beginning); with n · tick, the cached tokens that a decode reads."""
        self._began_s = 0.0
        self._planned = 0
        self._fixed_s = self._first_kv_s = self._more_kv_s = 0.0
        self.adapters = AdapterSet(limits.max_adapters, limits.adapter_load_s)
        self._num_loads = 0
        """Adapters to be loaded with the next iteration."""
        self.num_coming = 0
        """Requests whose KV cache is on its way here, or has come during the iteration under way."""
        self._joined: list[Work] = []
        self._beginners: list[Work] = []
        """Those of them that get their first token with the iteration under way."""
        self._has_passed = False
        """Some wait for a place for their adapter: whoever comes may pass them."""

    # --- from outside ----------------------------------------------------------------------------------------------

    @property
    def num_running(self) -> int:
        """Requests admitted."""
        return len(self._decoding) + len(self._filled) + (self._filling is not None)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting) + len(self._resumed)

    @property
    def is_busy(self) -> bool:
        """Whether iterations are under way."""
        return self._planned > 0

    @property
    def num_decoding(self) -> int:
        return len(self._decoding)

    @property
    def kv_tokens(self) -> int:
        """Cached tokens that an iteration of those decoding reads now."""
        return self._base + len(self._decoding) * self.tick

    @property
    def has_place(self) -> bool:
        """Whether one more may run, as far as `max_seqs` goes."""
        return self.num_running + self.num_coming < self.limits.max_seqs

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether the cache could hold such a request at its longest, alone."""
        return -(-(prompt_tokens + output_tokens) // self.limits.block_tokens) <= self.limits.kv_blocks

    def submit(self, work: Work, now: float) -> float | None:
        """Queues a request; the iterations under way now end at the returned time, None when none are (call `begin`).

        Raises ValueError for a request without tokens, or one the cache can never hold.
        """
        if work.prompt_tokens < 1 or work.output_tokens < 1 or not self.fits(work.prompt_tokens, work.output_tokens):
            raise ValueError(f"request {work.number} can't run on this engine")
        if work.keeps and work.output_tokens > 1:
            raise ValueError(f"request {work.number} keeps its blocks and would decode, too")
        work.arrived_s = now
        by_priority = self.limits.order == "priority"
        is_first = by_priority or self._has_passed or not (self._waiting or self._resumed)
        heapq.heappush(self._waiting, (work.priority if by_priority else 0, now, work.number, work))
        if is_first and len(self._decoding) < self.limits.max_seqs:
            return self.interrupt(now)
        return self._end_s() if self._planned else None

    def interrupt(self, now: float) -> float | None:
        """Something changed: planned iterations that have not begun are planned anew. Returns when those under way
        end, None when none are (call `begin`)."""
        if self._planned > 1:
            self._cut(now)
        return self._end_s() if self._planned else None

    def let_go(self, work: Work) -> None:
        """Frees what a request that `keeps` had left; then `interrupt` or `begin`, as others may have room now."""
        self._free(work, work.target)

    def reserve(self, work: Work, now: float) -> int:
        """Room for a request whose prompt was computed elsewhere: tokens whose KV must be fetched, −1 = no room now.

        Blocks that are here already are not fetched. Interrupts what is planned; `join` when all has come.
        """
        size, cache = self.limits.block_tokens, self.cache
        if self._resumed or not self.has_place:
            return -1
        if work.adapter and not self.adapters.has_room(work.adapter):
            return -1
        matched = 0
        if self.limits.prefix_caching and work.blocks:
            matched = cache.match(work.blocks)
        wanted = -(-work.prompt_tokens // size) - matched
        room = cache.num_available - cache.num_idle_of(work.blocks, matched)
        if wanted > room:
            return -1
        self.interrupt(now)
        if self._planned > 1 and wanted > room - self._growth(self.tick + 2, self._planned - 1):
            return -1
        cache.take(work.blocks, matched)
        cache.reserve(wanted)
        cache.num_private += wanted
        work.held = list(work.blocks[:matched])
        work.computed = matched * size
        self._use_adapter(work)
        self.num_coming += 1
        return work.prompt_tokens - work.computed

    def go_on(self, work: Work, output_tokens: int, now: float) -> float | None:
        """A request that `keeps` decodes here after all, in the blocks it has; a place must be free. As `join`."""
        work.keeps = False
        work.output_tokens = output_tokens
        work.generated = int(work.first_s >= 0)
        work.end_s = -1.0
        self.num_coming += 1
        self._joined.append(work)
        return self.interrupt(now)

    def join(self, work: Work, now: float) -> float | None:
        """All of a reserved request's KV is here: it decodes from the next iteration on, which gives it its first token
        unless it has had that (first_s). Returns when iterations under way end, None when none are (call `begin`)."""
        cache = self.cache
        if self.limits.prefix_caching:
            for block in work.blocks[len(work.held) :]:
                if cache.add(block):
                    work.held.append(block)
                    cache.num_private -= 1
        work.scheduled_s, work.computed, work.generated = now, work.target, int(work.first_s >= 0)
        self._joined.append(work)
        return self.interrupt(now)

    def begin(self, now: float) -> float | None:
        """Plans the next iterations; returns when they end, None when there is nothing to do."""
        self._began_s = now
        for work in self._joined:
            self.num_coming -= 1
            self._start_decoding(work)
            if work.first_s < 0:
                self._beginners.append(work)
        self._joined.clear()
        tick, preempted_before = self.tick + 1, self.num_preemptions
        self._make_room(tick)
        chunks = self._fill(now, preempted_before)
        num = len(self._decoding)
        kv_tokens = self._base + num * tick
        if chunks:
            self._fixed_s = self.timer.mixed(chunks, len(self._filled), num, kv_tokens)
            self._first_kv_s = self._more_kv_s = 0.0
            self._planned = 1
        elif num:
            self._fixed_s, per_kv_s = self.timer.decode(num)
            self._first_kv_s, self._more_kv_s = per_kv_s * kv_tokens, per_kv_s * num
            self._planned = self._num_alike() if self.num_preemptions == preempted_before else 1
        else:
            return None
        if self._beginners:
            self._planned = 1
        if self._num_loads:
            self._fixed_s += self._num_loads * self.adapters.load_s
            self._planned, self._num_loads = 1, 0
        return self._end_s()

    def end(self, now: float) -> tuple[list[Work], list[Work]]:
        """The planned iterations are over: (those with their first token, those with their last)."""
        steps, self._planned = self._planned, 0
        self.busy_s += now - self._began_s
        if steps > 1:
            num_blocks = self._growth(self.tick + 2, steps - 1)
            self.cache.reserve(num_blocks)
            self.cache.num_private += num_blocks
        self.tick += steps
        firsts = [work for work in self._beginners if work.number in self._decoding]
        for beginner in firsts:
            beginner.first_s = now
        self._beginners.clear()
        done: list[Work] = []
        ends = self._ends
        while ends and ends[0][0] <= self.tick:
            end_tick, number = heapq.heappop(ends)
            work = self._decoding.get(number)
            if work is not None and self._end_tick(work) == end_tick:
                self._stop_decoding(work)
                self._free(work, work.target + end_tick - work.began_tick)
                work.end_s = now
                done.append(work)
        for work in self._filled:
            if self._begin_decoding(work, now):
                firsts.append(work)
            if work.end_s >= 0:
                done.append(work)
        self._filled.clear()
        return firsts, done

    # --- iterations that are alike -----------------------------------------------------------------------------------

    def _num_alike(self) -> int:
        """How many iterations from here on differ only by a token per request: until one ends or blocks run out."""
        ends = self._ends
        while True:
            end_tick, number = ends[0]
            work = self._decoding.get(number)
            if work is not None and self._end_tick(work) == end_tick:
                break
            heapq.heappop(ends)
        steps = min(self._most, end_tick - self.tick)
        room = self.cache.num_available
        if self._growth(self.tick + 2, steps - 1) <= room:
            return steps
        low, high = 1, steps
        while high - low > 1:
            middle = (low + high) // 2
            if self._growth(self.tick + 2, middle - 1) <= room:
                low = middle
            else:
                high = middle
        return low

    def _growth(self, from_tick: int, num: int) -> int:
        """Blocks that decoding requests need in `num` ticks."""
        size = self.limits.block_tokens
        rounds, rest = divmod(num, size)
        grow, at = self._grow, from_tick % size
        total = rounds * len(self._decoding)
        if rest:
            total += sum(grow[at : at + rest]) + (sum(grow[: at + rest - size]) if at + rest > size else 0)
        return total

    def _end_s(self) -> float:
        return self._began_s + self._lasts_s(self._planned)

    def _lasts_s(self, steps: int) -> float:
        return steps * (self._fixed_s + self._first_kv_s + self._more_kv_s * (steps - 1) / 2)

    def _cut(self, now: float) -> None:
        """Leaves of the planned iterations those that began before `now`."""
        passed = now - self._began_s
        linear, square = self._fixed_s + self._first_kv_s - self._more_kv_s / 2, self._more_kv_s / 2
        if square > 0:
            steps = int((math.sqrt(linear * linear + 4 * square * passed) - linear) / (2 * square))
        else:
            steps = int(passed / linear)
        steps = max(1, steps)
        while steps > 1 and self._lasts_s(steps - 1) >= passed:
            steps -= 1
        while self._lasts_s(steps) < passed:
            steps += 1
        self._planned = min(self._planned, steps)

    # --- admission ---------------------------------------------------------------------------------------------------

    def _make_room(self, tick: int) -> None:
        """Blocks for the decodes of this tick; preempts where there are none."""
        grow, slot = self._grow, tick % self.limits.block_tokens
        while not self.cache.reserve(grow[slot]):
            self._preempt(self._victim())
        self.cache.num_private += grow[slot]

    def _fill(self, now: float, preempted_before: int) -> list[tuple[int, int]]:
        """Prompt chunks of this iteration, (new tokens, cached before them). Who preempts does not admit."""
        chunks: list[tuple[int, int]] = []
        budget = self.limits.max_batched_tokens - len(self._decoding)
        filling = self._filling
        if filling is not None and budget > 0:
            new = min(budget, filling.target - filling.computed)
            if not self._allocate(filling, new):
                self._preempt(filling)
                return chunks
            budget -= new
            self._count(filling, new, chunks)
        if self.num_preemptions == preempted_before:
            self._admit_waiting(now, budget, chunks)
        return chunks

    def _admit_waiting(self, now: float, budget: int, chunks: list[tuple[int, int]]) -> None:
        """Those at the head of the queue, while budget, sequences and blocks last. Who finds every place for adapters
        in use lets the others pass."""
        passed: list[tuple[int, float, int, Work]] = []
        most = self.limits.max_seqs - self.num_coming
        while budget > 0 and self.num_running < most and self.num_waiting and len(passed) < _MOST_PASSED:
            work = self._resumed[0] if self._resumed else self._waiting[0][3]
            if work.adapter and not self.adapters.has_room(work.adapter):
                if self._resumed:
                    break
                passed.append(heapq.heappop(self._waiting))
                continue
            is_resumed, num_before = bool(self._resumed), self.num_preemptions
            new, most_tokens = self._admit(work, budget, now), budget
            while not new and self.limits.admission == "displace":
                freed = self._displace(chunks)
                if not freed:
                    break
                budget += freed
                new = self._admit(work, most_tokens, now)
            if not new:
                break
            if is_resumed:
                self._resumed.remove(work)
            else:
                heapq.heappop(self._waiting)
            budget -= new
            self._count(work, new, chunks)
            if self.num_preemptions > num_before:
                break
        self._has_passed = bool(passed)
        for entry in passed:
            heapq.heappush(self._waiting, entry)

    def _displace(self, chunks: list[tuple[int, int]]) -> int:
        """Whoever was admitted last gives way, and what it was to compute in this iteration is not; returns the tokens
        of the budget that frees, 0 = nobody can."""
        size, works = self.limits.block_tokens, [*self._filled, *([self._filling] if self._filling else [])]
        victim = works[-1] if works else self._victim() if self._decoding else None
        if victim is None or victim.num_preempted >= _MOST_DISPLACED:
            return 0
        if works:
            new, before = chunks.pop()
            self._preempt(victim, before + new)
            return new
        if (victim.began_tick + 1 - victim.target) % size == (self.tick + 1) % size:
            self.cache.num_private -= 1  # its block for this iteration
        self._preempt(victim)
        return 1

    def _admit(self, work: Work, budget: int, now: float) -> int:
        """Takes what of its prompt is cached and room for a first chunk; returns the chunk's tokens, 0 = no room.

        Unless the whole prompt must fit, a long one takes room chunk by chunk, maybe only to lose it all.
        """
        size, cache = self.limits.block_tokens, self.cache
        matched = 0
        if self.limits.prefix_caching and work.blocks:
            matched = min(cache.match(work.blocks), (work.target - 1) // size)
        new = min(budget, work.target - matched * size)
        tokens = work.target if self.limits.admission == "prompt" else matched * size + new
        wanted = -(-tokens // size) - matched
        if wanted > cache.num_available - cache.num_idle_of(work.blocks, matched):
            return 0
        cache.take(work.blocks, matched)
        work.held = list(work.blocks[:matched])
        work.computed = matched * size
        if work.scheduled_s < 0:
            work.scheduled_s = now
            work.cached_tokens = work.computed
        self._use_adapter(work)
        self._allocate(work, new)
        return new

    def _use_adapter(self, work: Work) -> None:
        if work.adapter and self.adapters.use(work.adapter):
            self._num_loads += 1

    def _allocate(self, work: Work, new: int) -> bool:
        """Blocks for `new` tokens more; full prompt blocks among them can be found by others from now on."""
        size, cache = self.limits.block_tokens, self.cache
        before, after = -(-work.computed // size), -(-(work.computed + new) // size)
        if not cache.reserve(after - before):
            return False
        cache.num_private += after - before
        if self.limits.prefix_caching:
            full = min(len(work.blocks), (work.computed + new) // size)
            for block in work.blocks[work.computed // size : full]:
                if cache.add(block):
                    work.held.append(block)
                    cache.num_private -= 1
        return True

    def _count(self, work: Work, new: int, chunks: list[tuple[int, int]]) -> None:
        chunks.append((new, work.computed))
        work.computed += new
        if work.computed == work.target:
            self._filled.append(work)
            self._filling = None
        else:
            self._filling = work

    # --- decoding ----------------------------------------------------------------------------------------------------

    def _begin_decoding(self, work: Work, now: float) -> bool:
        """Its prompt is computed and gave a token. Whether that was its first one."""
        work.generated += 1
        is_first = work.first_s < 0
        if is_first:
            work.first_s = now
        if work.generated == work.output_tokens:
            if not work.keeps:
                self._free(work, work.target)
            work.end_s = now
            return is_first
        self._start_decoding(work)
        return is_first

    def _start_decoding(self, work: Work) -> None:
        work.began_tick = self.tick
        self._decoding[work.number] = work
        self._base += work.target - self.tick
        self._grow[(self.tick + 1 - work.target) % self.limits.block_tokens] += 1
        heapq.heappush(self._ends, (self._end_tick(work), work.number))

    def _end_tick(self, work: Work) -> int:
        return work.began_tick + work.output_tokens - work.generated

    def _stop_decoding(self, work: Work) -> None:
        del self._decoding[work.number]
        self._base -= work.target - work.began_tick
        self._grow[(work.began_tick + 1 - work.target) % self.limits.block_tokens] -= 1

    def _free(self, work: Work, tokens: int) -> None:
        """Gives back the blocks of its first `tokens` tokens, which are all it has."""
        self.cache.num_private -= -(-tokens // self.limits.block_tokens) - len(work.held)
        self.cache.release(work.held)
        work.held = []
        if work.adapter:
            self.adapters.release(work.adapter)

    def _victim(self) -> Work:
        """Who is preempted: whoever was admitted last; by priority, the least urgent of them."""
        works = [*self._decoding.values()] + ([self._filling] if self._filling else [])
        if self.limits.order == "priority":
            return max(works, key=lambda work: (work.priority, work.arrived_s, work.number))
        return works[-1]

    def _preempt(self, work: Work, num_filled: int = 0) -> None:
        """It loses its blocks and will compute its prompt and all it generated again, before anybody is admitted.
        num_filled: tokens it has blocks for, where its prompt ends with this iteration."""
        if work is self._filling:
            self._filling = None
            self._free(work, work.computed)
        elif num_filled:
            self._filled.remove(work)
            self._free(work, num_filled)
        else:
            self._stop_decoding(work)
            num_more = self.tick - work.began_tick
            self._free(work, work.target + num_more)
            work.generated += num_more
            work.target = work.prompt_tokens + work.generated
        work.computed = 0
        work.num_preempted += 1
        self.num_preemptions += 1
        self._resumed.appendleft(work)
