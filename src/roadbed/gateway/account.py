"""What all gateway workers and the control plane know together: one memory-mapped file of counters.

Cells have one writer each (a worker's row, control's report), so they need no lock and their sum is exact; only the
rate-limit buckets are written by several workers, under an advisory file lock that the kernel drops if its holder dies
(skipped when there is a single worker). The layout is fixed for the largest pool, as a sparse file: changing the number
of workers changes no address. The trade-off is fixed ceilings: 64 workers, 1,024 replicas, 16,384 keys and tenants.

    header · replica rows [worker][slot] · reports [slot] · buckets [limit slot] · concurrency [worker][limit slot]

All times are Unix seconds (nanoseconds in buckets), all cells 8 bytes.
"""

import fcntl
import mmap
import os
import struct
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import gcd
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.errors import RuntimeFailure
from roadbed.gateway.snapshot import LimitsEntry
from roadbed.router import limits
from roadbed.router.base import ReplicaReport

MAX_WORKERS = 64
MAX_REPLICAS = 1024
MAX_LIMITS = 16_384
PICO = 10**12

_MAGIC = b"RBACCT\0\0"
_VERSION = 1
_HEADER = struct.Struct("<8sQQQQ")
_ROW = 8
"""in-flight, prefill, context, decode tokens · finished requests, prompt, cached, completion tokens"""
_GAUGES = 4
_REPORT = 4
"""at, running, waiting, kv usage"""
_BUCKET = 8
"""TAT of requests, TAT of tokens, month, CNY spent, pico-CNY spent (below one CNY) · spare"""
_ROWS_AT = 512
_REPORTS_AT = _ROWS_AT + MAX_WORKERS * MAX_REPLICAS * _ROW
_BUCKETS_AT = _REPORTS_AT + MAX_REPLICAS * _REPORT
_CONCURRENCY_AT = _BUCKETS_AT + MAX_LIMITS * _BUCKET
_NUM_CELLS = _CONCURRENCY_AT + MAX_WORKERS * MAX_LIMITS
SIZE_BYTES = _NUM_CELLS * 8

Owner = Literal["key", "tenant"]
Ceiling = Literal["requests", "tokens", "concurrency", "budget"]


class LimitView:
    """A key's or a tenant's ceilings, where their counters are, and what the hot path would compute again each time.

    One per process and owner. Ceilings of 0 are none. `base` is the first cell of its buckets; `requests_ahead_ns`
    and `tokens_ahead_ns` are how full they were after the last `reserve` of this process. A rate is `…_rate` per
    `…_per_ns` nanoseconds in lowest terms, so that products of it stay small integers.
    """

    __slots__ = (
        "base",
        "budget_cny",
        "budget_pico",
        "limits",
        "max_concurrency",
        "name",
        "owner",
        "request_ns",
        "requests_ahead_ns",
        "requests_per_minute",
        "requests_per_ns",
        "requests_rate",
        "slot",
        "tokens_ahead_ns",
        "tokens_per_minute",
        "tokens_per_ns",
        "tokens_rate",
    )  # fmt: skip

    def __init__(self, owner: Owner, name: str, slot: int, ceilings: LimitsEntry) -> None:
        self.owner: Owner = owner
        self.name = name
        self.slot = slot
        self.limits = ceilings
        self.base = _BUCKETS_AT + slot * _BUCKET
        self.requests_per_minute = ceilings.requests_per_minute or 0
        self.request_ns = limits.cost_ns(1, self.requests_per_minute) if self.requests_per_minute else 0
        self.tokens_per_minute = ceilings.tokens_per_minute or 0
        self.max_concurrency = ceilings.concurrency or 0
        self.budget_pico = ceilings.monthly_budget_pico or 0
        self.budget_cny = self.budget_pico // PICO
        self.requests_ahead_ns = self.tokens_ahead_ns = 0
        self.requests_rate, self.requests_per_ns = _reduced(self.requests_per_minute)
        self.tokens_rate, self.tokens_per_ns = _reduced(self.tokens_per_minute)


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """Which ceiling stopped a request, and when to try again. Amounts are in the ceiling's unit (budget: pico-CNY)."""

    reason: Ceiling
    owner: Owner
    name: str
    limit: int
    remaining: int
    reset_s: float
    """Until the ceiling is whole again."""
    retry_after_s: float
    """Until this request fits; 0 for concurrency (whenever another one ends)."""
    too_large: bool = False
    """The request alone exceeds a whole minute's tokens: it will never fit."""


def _reduced(per_minute: int) -> tuple[int, int]:
    divisor = gcd(per_minute, limits.MINUTE_NS)
    return per_minute // divisor, limits.MINUTE_NS // divisor


class RateState:
    """For the x-ratelimit-* headers: the tightest of the views. limit None = no ceiling."""

    __slots__ = ("limit_requests", "limit_tokens", "remaining_requests", "remaining_tokens", "reset_requests_s",
                 "reset_tokens_s")  # fmt: skip

    def __init__(self) -> None:
        self.limit_requests: int | None = None
        self.remaining_requests = 0
        self.reset_requests_s = 0.0
        self.limit_tokens: int | None = None
        self.remaining_tokens = 0
        self.reset_tokens_s = 0.0


class ReplicaTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's row summed over workers: what is in flight now, and what has ended since the file was made."""

    in_flight: int
    prefill_tokens: int
    context_tokens: int
    decode_tokens: int
    finished_requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Account:
    """One process's mapping of the file. `worker` −1 = not a gateway worker (control, a reader)."""

    def __init__(self, path: Path, *, num_workers: int, worker: int = -1) -> None:
        """Opens the file, creating it if absent. Raises RuntimeFailure when it is another version's."""
        if not 1 <= num_workers <= MAX_WORKERS or not -1 <= worker < num_workers:
            raise ValueError(f"worker {worker} of {num_workers}: need 1 to {MAX_WORKERS} workers")
        self.path = path
        self.num_workers = num_workers
        self.worker = worker
        self.created = _create(path)
        """True when this call made the file: every counter is zero, budgets are to be seeded."""
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _check(self._fd, path)
            self._map = mmap.mmap(self._fd, SIZE_BYTES)
        except BaseException:
            os.close(self._fd)
            raise
        self._cells = memoryview(self._map).cast("q")
        self._floats = memoryview(self._map).cast("d")
        shape = (MAX_WORKERS, MAX_REPLICAS, _ROW)
        self._rows: npt.NDArray[np.int64] = np.frombuffer(
            self._map, dtype=np.int64, count=MAX_WORKERS * MAX_REPLICAS * _ROW, offset=_ROWS_AT * 8
        ).reshape(shape)
        # who is no worker has no cells: an index beyond the file raises
        self._row_base = _ROWS_AT + worker * MAX_REPLICAS * _ROW if worker >= 0 else _NUM_CELLS
        self._concurrency_base = _CONCURRENCY_AT + worker * MAX_LIMITS if worker >= 0 else _NUM_CELLS
        self._shared = num_workers > 1 or worker < 0
        self._last_slots: Sequence[int] = ()
        self._slot_index: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._month, self._month_ends_at = 0, 0.0

    def close(self) -> None:
        """Unmaps; further use raises. Idempotent."""
        if self._fd < 0:
            return
        self._cells.release()
        self._floats.release()
        self._rows = np.empty((0, 0, 0), dtype=np.int64)
        self._map.close()
        os.close(self._fd)
        self._fd = -1

    # --- replicas (router.account.AccountView) -----------------------------------------------------------------------

    def write(self, slot: int, num_requests: int, prefill_tokens: int, context_tokens: int, decode_tokens: int) -> None:
        """Replaces this worker's gauges of a replica."""
        base = self._row_base + slot * _ROW
        cells = self._cells
        cells[base] = num_requests
        cells[base + 1] = prefill_tokens
        cells[base + 2] = context_tokens
        cells[base + 3] = decode_tokens

    def others(self, slots: Sequence[int]) -> list[list[int]] | None:
        """Per slot, the gauges of all other workers summed; None when there are none."""
        if self.num_workers == 1:
            return None
        if slots != self._last_slots:
            self._last_slots, self._slot_index = list(slots), np.asarray(slots, dtype=np.intp)
        rows = self._rows[: self.num_workers, self._slot_index, :_GAUGES]
        sums: list[list[int]] = (rows.sum(axis=0) - rows[self.worker]).tolist()
        return sums

    def count(self, slot: int, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> None:
        """Adds one finished request to this worker's totals of a replica."""
        base = self._row_base + slot * _ROW + _GAUGES
        cells = self._cells
        cells[base] += 1
        cells[base + 1] += prompt_tokens
        cells[base + 2] += cached_tokens
        cells[base + 3] += completion_tokens

    def totals(self, slot: int) -> ReplicaTotals:
        """The exact account of a replica."""
        return ReplicaTotals(
            **dict(zip(ReplicaTotals.__struct_fields__, self._rows[:, slot].sum(axis=0).tolist(), strict=True))
        )

    def reset_worker(self, worker: int) -> None:
        """Nothing of this worker is in flight (it starts, or it is dead). Its totals stay."""
        self._rows[worker, :, :_GAUGES] = 0
        at = (_CONCURRENCY_AT + worker * MAX_LIMITS) * 8
        self._map[at : at + MAX_LIMITS * 8] = bytes(MAX_LIMITS * 8)

    def reset_replica(self, slot: int) -> None:
        """The slot is given to a new replica: its totals and report begin at zero. For control, while unused."""
        self._rows[:, slot] = 0
        base = _REPORTS_AT + slot * _REPORT
        for cell in range(base, base + _REPORT):
            self._cells[cell] = 0

    def write_report(self, slot: int, report: ReplicaReport) -> None:
        """What the engine said of itself; `at` is written last."""
        base = _REPORTS_AT + slot * _REPORT
        self._cells[base + 1] = report.num_running
        self._cells[base + 2] = report.num_waiting
        self._floats[base + 3] = report.kv_usage
        self._floats[base] = report.at

    def report(self, slot: int) -> ReplicaReport | None:
        """The last report, None when there never was one. Fields may straddle two reports for a microsecond."""
        base = _REPORTS_AT + slot * _REPORT
        at = self._floats[base]
        if at == 0.0:
            return None
        return ReplicaReport(
            at=at, num_running=self._cells[base + 1], num_waiting=self._cells[base + 2],
            kv_usage=self._floats[base + 3],
        )  # fmt: skip

    # --- limits ------------------------------------------------------------------------------------------------------

    def reserve(self, views: Sequence[LimitView], now: float, *, requests: int = 1, tokens: int = 0) -> Denied | None:
        """Takes requests, estimated tokens and one concurrency from every view, or from none and says why not.

        Every None must be followed by exactly one `settle`. Budgets stop new requests once spent; what is in flight
        then may still overdraw them.
        """
        if not self._shared:
            return self._reserve(views, now, requests, tokens)
        with self._lock():
            return self._reserve(views, now, requests, tokens)

    def settle(
        self, views: Sequence[LimitView], now: float, *, reserved_tokens: int, actual_tokens: int, cost_pico: int = 0
    ) -> None:
        """The request is over: tokens are corrected to fact, the cost is booked on this month, concurrency freed."""
        if not self._shared:
            self._settle(views, now, reserved_tokens, actual_tokens, cost_pico)
            return
        with self._lock():
            self._settle(views, now, reserved_tokens, actual_tokens, cost_pico)

    def rate_state(self, views: Sequence[LimitView], now: float) -> RateState:
        """The tightest request and token ceilings of the views; reads without the lock."""
        now_ns = int(now * 1e9)
        cells, minute_ns = self._cells, limits.MINUTE_NS
        state = RateState()
        for view in views:
            per_minute = view.requests_per_minute
            if per_minute:
                ahead_ns = limits.backlog_ns(cells[view.base], now_ns)
                left = (
                    (minute_ns - ahead_ns) * view.requests_rate // view.requests_per_ns if ahead_ns < minute_ns else 0
                )
                if state.limit_requests is None or left < state.remaining_requests:
                    state.limit_requests, state.remaining_requests = per_minute, left
                    state.reset_requests_s = ahead_ns / 1e9
            per_minute = view.tokens_per_minute
            if per_minute:
                ahead_ns = limits.backlog_ns(cells[view.base + 1], now_ns)
                left = (minute_ns - ahead_ns) * view.tokens_rate // view.tokens_per_ns if ahead_ns < minute_ns else 0
                if state.limit_tokens is None or left < state.remaining_tokens:
                    state.limit_tokens, state.remaining_tokens = per_minute, left
                    state.reset_tokens_s = ahead_ns / 1e9
        return state

    def concurrency(self, slot: int) -> int:
        """Requests in flight of a limit slot, over all workers."""
        cells, first = self._cells, _CONCURRENCY_AT + slot
        if self.num_workers == 1:
            return cells[first]
        return sum(cells[first + worker * MAX_LIMITS] for worker in range(self.num_workers))

    def spent_pico(self, slot: int, now: float) -> int:
        """What the slot has spent this month (UTC)."""
        base, cells = _BUCKETS_AT + slot * _BUCKET, self._cells
        return cells[base + 3] * PICO + cells[base + 4] if cells[base + 2] == self._month_at(now) else 0

    def seed_spent(self, slot: int, now: float, spent_pico: int) -> None:
        """Sets this month's spending from the ledger, when the file is new. For control, before workers start."""
        base = _BUCKETS_AT + slot * _BUCKET
        with self._lock():
            self._cells[base + 2] = self._month_at(now)
            self._cells[base + 3], self._cells[base + 4] = divmod(spent_pico, PICO)

    def reset_limits(self, slot: int) -> None:
        """The slot is given to a new key or tenant: buckets full, nothing spent. For control, while unused."""
        base = _BUCKETS_AT + slot * _BUCKET
        with self._lock():
            for cell in range(base, base + _BUCKET):
                self._cells[cell] = 0

    # --- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if self._shared:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if self._shared:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _reserve(self, views: Sequence[LimitView], now: float, requests: int, tokens: int) -> Denied | None:
        """`limits.wait_ns` and `limits.taken`, written out: this runs for each request. First pass looks, second takes;
        whatever does not fit is explained by `_check`."""
        now_ns = int(now * 1e9)
        cells = self._cells
        for view in views:
            base = view.base
            if view.requests_per_minute:
                ahead_ns = cells[base] - now_ns
                if ahead_ns < 0:
                    ahead_ns = 0
                ahead_ns += view.request_ns if requests == 1 else limits.cost_ns(requests, view.requests_per_minute)
                if ahead_ns > limits.MINUTE_NS:
                    return self._check(view, now, now_ns, requests, tokens)
                view.requests_ahead_ns = ahead_ns
            if view.tokens_per_minute:
                ahead_ns = cells[base + 1] - now_ns
                if ahead_ns < 0:
                    ahead_ns = 0
                ahead_ns += tokens * view.tokens_per_ns // view.tokens_rate
                if ahead_ns > limits.MINUTE_NS:
                    return self._check(view, now, now_ns, requests, tokens)
                view.tokens_ahead_ns = ahead_ns
            if view.max_concurrency and self.concurrency(view.slot) >= view.max_concurrency:
                return self._check(view, now, now_ns, requests, tokens)
            if (
                view.budget_pico
                and cells[base + 3] >= view.budget_cny  # cheap, and true long before the budget is spent
                and self.spent_pico(view.slot, now) >= view.budget_pico
            ):
                return self._check(view, now, now_ns, requests, tokens)
        for view in views:
            if view.requests_per_minute:
                cells[view.base] = now_ns + view.requests_ahead_ns
            if view.tokens_per_minute:
                cells[view.base + 1] = now_ns + view.tokens_ahead_ns
            cells[self._concurrency_base + view.slot] += 1
        return None

    def _settle(
        self, views: Sequence[LimitView], now: float, reserved_tokens: int, actual_tokens: int, cost_pico: int
    ) -> None:
        now_ns = int(now * 1e9)
        cells = self._cells
        month = self._month_at(now)
        for view in views:
            base = view.base
            per_minute = view.tokens_per_minute
            if per_minute and actual_tokens != reserved_tokens:
                per_ns, rate = view.tokens_per_ns, view.tokens_rate
                cells[base + 1] = limits.taken(
                    cells[base + 1], now_ns, actual_tokens * per_ns // rate - reserved_tokens * per_ns // rate
                )
            if cost_pico:
                if cells[base + 2] != month:
                    cells[base + 2], cells[base + 3], cells[base + 4] = month, 0, 0
                spent = cells[base + 4] + cost_pico
                if spent >= PICO:
                    carry, spent = divmod(spent, PICO)
                    cells[base + 3] += carry
                cells[base + 4] = spent
            mine = self._concurrency_base + view.slot
            running = cells[mine]
            if running > 0:
                cells[mine] = running - 1

    def _check(self, view: LimitView, now: float, now_ns: int, requests: int, tokens: int) -> Denied | None:
        ceilings, cells = view.limits, self._cells
        base = _BUCKETS_AT + view.slot * _BUCKET
        if ceilings.concurrency is not None and self.concurrency(view.slot) >= ceilings.concurrency:
            return _denied(view, "concurrency", ceilings.concurrency)
        return (
            self._check_rate(view, "requests", ceilings.requests_per_minute, cells[base], now_ns, requests)
            or self._check_rate(view, "tokens", ceilings.tokens_per_minute, cells[base + 1], now_ns, tokens)
            or self._check_budget(view, now)
        )

    @staticmethod
    def _check_rate(
        view: LimitView, reason: Ceiling, per_minute: int | None, tat_ns: int, now_ns: int, amount: int
    ) -> Denied | None:
        if per_minute is None:
            return None
        wait_ns = limits.wait_ns(tat_ns, now_ns, limits.cost_ns(amount, per_minute))
        if not wait_ns:
            return None
        return _denied(
            view, reason, per_minute, remaining=limits.remaining(tat_ns, now_ns, per_minute),
            reset_s=limits.backlog_ns(tat_ns, now_ns) / 1e9, retry_after_s=wait_ns / 1e9,
            too_large=amount > per_minute,
        )  # fmt: skip

    def _check_budget(self, view: LimitView, now: float) -> Denied | None:
        budget = view.limits.monthly_budget_pico
        if budget is not None and self.spent_pico(view.slot, now) >= budget:
            ends_s = self._month_ends_at - now
            return _denied(view, "budget", budget, reset_s=ends_s, retry_after_s=ends_s)
        return None

    def _month_at(self, now: float) -> int:
        if not self._month or now >= self._month_ends_at or now < self._month_ends_at - 28 * 86_400:
            self._month, self._month_ends_at = limits.month_of(now)
        return self._month


def _denied(
    view: LimitView, reason: Ceiling, limit: int, *, remaining: int = 0, reset_s: float = 0.0,
    retry_after_s: float = 0.0, too_large: bool = False,
) -> Denied:  # fmt: skip
    return Denied(
        reason=reason, owner=view.owner, name=view.name, limit=limit, remaining=remaining, reset_s=reset_s,
        retry_after_s=retry_after_s, too_large=too_large,
    )  # fmt: skip


def _create(path: Path) -> bool:
    """Makes the file whole or not at all; whoever links it first wins. True when this call did."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, SIZE_BYTES)
        os.pwrite(fd, _HEADER.pack(_MAGIC, _VERSION, MAX_WORKERS, MAX_REPLICAS, MAX_LIMITS), 0)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.close(fd)
        draft.unlink()
    return True


def _check(fd: int, path: Path) -> None:
    expected = _HEADER.pack(_MAGIC, _VERSION, MAX_WORKERS, MAX_REPLICAS, MAX_LIMITS)
    if os.fstat(fd).st_size != SIZE_BYTES or os.pread(fd, _HEADER.size, 0) != expected:
        raise RuntimeFailure(
            f"{path} is not an account of this version; it holds only live counters and can be made again",
            hint=f"roadbed down && rm {path} && roadbed up",
        )
