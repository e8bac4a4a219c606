import multiprocessing
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import RuntimeFailure
from roadbed.gateway.account import MAX_LIMITS, PICO, Account, LimitView
from roadbed.gateway.snapshot import LimitsEntry
from roadbed.router.base import ReplicaReport

NOW = 1_790_000_000.0
DAY_S = 86_400.0
Open = Callable[..., Account]


@pytest.fixture
def open_account(tmp_path: Path) -> Iterator[Open]:
    opened: list[Account] = []

    def make(num_workers: int = 1, worker: int = 0) -> Account:
        opened.append(Account(tmp_path / "account.bin", num_workers=num_workers, worker=worker))
        return opened[-1]

    yield make
    for account in opened:
        account.close()
        account.close()


def view(slot: int = 0, owner: str = "key", **ceilings: int) -> LimitView:
    return LimitView(owner, f"{owner}{slot}", slot, LimitsEntry(**ceilings))  # type: ignore[arg-type]


def test_the_file_is_private_sparse_and_made_once(open_account: Open) -> None:
    first, second = open_account(), open_account()
    assert (first.created, second.created) == (True, False)
    status = first.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_blocks * 512 < status.st_size / 10
    assert list(first.path.parent.iterdir()) == [first.path]


def test_a_file_of_another_version_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "account.bin").write_bytes(b"something else")
    with pytest.raises(RuntimeFailure, match="not an account") as caught:
        Account(tmp_path / "account.bin", num_workers=1, worker=0)
    assert caught.value.hint is not None
    assert "roadbed up" in caught.value.hint


def test_worker_numbers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="worker 3 of 2"):
        Account(tmp_path / "account.bin", num_workers=2, worker=3)


def test_who_is_no_worker_has_no_row_to_write(open_account: Open) -> None:
    control = open_account(num_workers=2, worker=-1)
    with pytest.raises(IndexError):
        control.write(0, 1, 1, 1, 1)
    with pytest.raises(IndexError):
        control.reserve([view(0)], NOW)


def test_rows_sum_to_the_exact_account(open_account: Open) -> None:
    one, two = open_account(2, 0), open_account(2, 1)
    one.write(7, 1, 10, 100, 1000)
    two.write(7, 2, 20, 200, 2000)
    two.count(7, 50, 40, 5)
    assert one.others([7, 8]) == [[2, 20, 200, 2000], [0, 0, 0, 0]]
    assert two.others([7]) == [[1, 10, 100, 1000]]
    totals = one.totals(7)
    assert (totals.in_flight, totals.prefill_tokens, totals.context_tokens, totals.decode_tokens) == (3, 30, 300, 3000)
    assert (totals.finished_requests, totals.prompt_tokens, totals.cached_tokens, totals.completion_tokens) == (
        1,
        50,
        40,
        5,
    )
    one.reset_worker(1)
    totals = one.totals(7)
    assert (totals.in_flight, totals.finished_requests) == (1, 1)
    one.reset_replica(7)
    assert one.totals(7).finished_requests == one.totals(7).in_flight == 0


def test_a_single_worker_has_no_others(open_account: Open) -> None:
    assert open_account().others([0]) is None


def test_reports_reach_every_worker(open_account: Open) -> None:
    control, worker = open_account(2, -1), open_account(2, 1)
    assert worker.report(3) is None
    report = ReplicaReport(at=NOW, num_running=4, num_waiting=2, kv_usage=0.25)
    control.write_report(3, report)
    assert worker.report(3) == report
    control.reset_replica(3)
    assert worker.report(3) is None


def test_both_views_or_neither(open_account: Open) -> None:
    account = open_account()
    key, tenant = view(1, requests_per_minute=5), view(2, "tenant", requests_per_minute=2)
    assert [account.reserve([key, tenant], NOW) for _ in range(2)] == [None, None]
    denied = account.reserve([key, tenant], NOW)
    assert denied is not None
    assert (denied.reason, denied.owner, denied.name, denied.limit, denied.remaining) == (
        "requests", "tenant", "tenant2", 2, 0,
    )  # fmt: skip
    assert denied.retry_after_s == pytest.approx(30)
    assert denied.reset_s == pytest.approx(60)
    assert account.rate_state([key], NOW).remaining_requests == 3
    assert account.concurrency(1) == 2
    assert account.reserve([key, tenant], NOW + denied.retry_after_s + 1e-6) is None


def test_tokens_are_reserved_on_estimate_and_settled_on_fact(open_account: Open) -> None:
    account = open_account()
    views = [view(1, tokens_per_minute=1000)]
    assert account.reserve(views, NOW, tokens=800) is None
    denied = account.reserve(views, NOW, tokens=300)
    assert denied is not None
    assert (denied.reason, denied.remaining, denied.too_large) == ("tokens", 200, False)
    account.settle(views, NOW, reserved_tokens=800, actual_tokens=100)
    assert account.rate_state(views, NOW).remaining_tokens == 900
    assert account.reserve(views, NOW, tokens=900) is None
    account.settle(views, NOW, reserved_tokens=900, actual_tokens=1900)
    state = account.rate_state(views, NOW)
    assert (state.limit_tokens, state.remaining_tokens, state.reset_tokens_s) == (1000, 0, 120.0)
    assert state.limit_requests is None
    too_large = account.reserve(views, NOW + 500, tokens=1001)
    assert too_large is not None
    assert too_large.too_large


def test_concurrency_is_freed_by_settling_and_by_the_death_of_a_worker(open_account: Open) -> None:
    one, two = open_account(2, 0), open_account(2, 1)
    views = [view(1, concurrency=2)]
    assert one.reserve(views, NOW) is None
    assert two.reserve(views, NOW) is None
    denied = one.reserve(views, NOW)
    assert denied is not None
    assert (denied.reason, denied.limit, denied.retry_after_s) == ("concurrency", 2, 0.0)
    one.settle(views, NOW, reserved_tokens=0, actual_tokens=0)
    assert two.reserve(views, NOW) is None
    assert one.reserve(views, NOW) is not None
    one.reset_worker(1)
    assert one.concurrency(1) == 0


def test_budgets_stop_at_the_amount_and_begin_anew_each_month(open_account: Open) -> None:
    account = open_account()
    views = [view(1, monthly_budget_pico=3 * PICO)]
    for cost in (PICO // 2, 2 * PICO, PICO // 2):
        assert account.reserve(views, NOW) is None
        account.settle(views, NOW, reserved_tokens=0, actual_tokens=0, cost_pico=cost)
    assert account.spent_pico(1, NOW) == 3 * PICO
    denied = account.reserve(views, NOW)
    assert denied is not None
    assert denied.reason == "budget"
    assert account.reserve(views, NOW + denied.retry_after_s - 1) is not None
    assert account.reserve(views, NOW + denied.retry_after_s) is None
    assert account.spent_pico(1, NOW + 31 * DAY_S) == 0
    account.settle(views, NOW + 31 * DAY_S, reserved_tokens=0, actual_tokens=0, cost_pico=5)
    assert account.spent_pico(1, NOW + 31 * DAY_S) == 5


def test_budgets_hold_more_than_64_bits_of_pico(open_account: Open) -> None:
    account = open_account()
    account.seed_spent(1, NOW, 10**9 * PICO + 7)
    account.settle([view(1)], NOW, reserved_tokens=0, actual_tokens=0, cost_pico=10**9 * PICO)
    assert account.spent_pico(1, NOW) == 2 * 10**9 * PICO + 7
    account.reset_limits(1)
    assert account.spent_pico(1, NOW) == 0


def test_no_ceilings_no_denial(open_account: Open) -> None:
    account = open_account()
    assert account.reserve([view(1), view(MAX_LIMITS - 1, "tenant")], NOW, tokens=10**9) is None
    assert account.rate_state([view(1)], NOW).limit_requests is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "crash"]), st.integers(0, 2), st.integers(0, 1), st.integers(0, 300)
        )
    )
)
def test_any_history_conserves_concurrency_and_tokens(tmp_path_factory, steps) -> None:
    path = tmp_path_factory.mktemp("account") / "account.bin"
    workers = [Account(path, num_workers=3, worker=worker) for worker in range(3)]
    views = [view(slot, requests_per_minute=10**6, tokens_per_minute=6000, concurrency=4) for slot in range(2)]
    held: list[list[tuple[int, int]]] = [[], [], []]
    used = [0, 0]
    for what, worker, slot, tokens in steps:
        account = workers[worker]
        if what == "reserve":
            denied = account.reserve([views[slot]], NOW, tokens=tokens)
            in_flight = sum(s == slot for row in held for s, _ in row)
            assert (denied is not None) == (in_flight >= 4 or used[slot] + tokens > 6000)
            if denied is None:
                held[worker].append((slot, tokens))
                used[slot] += tokens
        elif what == "settle" and held[worker]:
            slot, reserved = held[worker].pop()
            account.settle([views[slot]], NOW, reserved_tokens=reserved, actual_tokens=tokens, cost_pico=tokens)
            used[slot] += tokens - reserved
        elif what == "crash":
            held[worker].clear()
            workers[(worker + 1) % 3].reset_worker(worker)
        for index in range(2):
            assert account.concurrency(index) == sum(s == index for row in held for s, _ in row)
            assert account.rate_state([views[index]], NOW).remaining_tokens == max(0, 6000 - used[index])
    for account in workers:
        account.close()


def _hammer(path: Path, worker: int, num: int, admitted: "multiprocessing.Queue[int]") -> None:
    account = Account(path, num_workers=3, worker=worker)
    views = [view(1, requests_per_minute=500)]
    admitted.put(sum(account.reserve(views, NOW) is None for _ in range(num)))
    account.close()


def test_three_processes_together_get_the_limit_and_not_one_more(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    admitted: multiprocessing.Queue[int] = context.Queue()
    path = tmp_path / "account.bin"
    workers = [context.Process(target=_hammer, args=(path, worker, 400, admitted)) for worker in range(3)]
    for process in workers:
        process.start()
    counts = [admitted.get(timeout=60) for _ in workers]
    for process in workers:
        process.join()
    admitted.close()
    admitted.join_thread()
    assert sum(counts) == 500
    account = Account(path, num_workers=3, worker=0)
    assert account.concurrency(1) == 500
    account.close()


def _die_holding_the_lock(path: Path) -> None:
    account = Account(path, num_workers=2, worker=1)
    with account._lock():
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_inside_the_lock_blocks_no_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_die_holding_the_lock, args=(tmp_path / "account.bin",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    account = Account(tmp_path / "account.bin", num_workers=2, worker=0)
    assert account.reserve([view(1, requests_per_minute=1)], NOW) is None
    account.close()
