import math

import pytest

from roadbed.router.base import ReplicaReport
from roadbed.router.estimate import ReplicaModel
from roadbed.router.replica import FRESH_TOKENS, WORK_S, Replica, run_ahead
from tests.router.requests import info


@pytest.mark.parametrize(("concurrency", "ahead"), [(1, 1), (4, 1), (16, 2), (64, 8), (1000, 8)])
def test_run_ahead_is_small(concurrency: int, ahead: int) -> None:
    assert run_ahead(concurrency) == ahead


def test_the_last_place_is_the_last() -> None:
    replica = Replica(info(0, concurrency=2, kv_tokens=1000), bit=0)
    for _ in range(3):
        assert replica.fits(100)
        replica.charge(10, 100, 10, requests=1)
    assert not replica.fits(1)
    replica.charge(0, 0, 0, requests=-1)
    assert replica.fits(600), "nine tenths of the cache are planned with"
    assert not replica.fits(601)


def test_backoff_doubles_to_a_ceiling_and_ends_with_an_answer() -> None:
    replica = Replica(info(0), bit=0)
    waits = []
    for _ in range(7):
        replica.suspect(100.0)
        waits.append(replica.suspect_until - 100.0)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    replica.trust()
    assert (replica.suspect_until, replica.backoff_s) == (0.0, 0.0)


def test_totals_are_ours_and_theirs() -> None:
    replica = Replica(info(0), bit=0)
    replica.charge(1, 2, 3, requests=4)
    replica.refresh([10, 20, 30, 40])
    replica.refresh([10, 20, 30, 40])
    assert (replica.num_running, replica.prefill, replica.context, replica.decode) == (14, 21, 32, 43)


def test_guests_must_be_reported_twice() -> None:
    replica = Replica(info(0), bit=0)
    replica.charge(0, 0, 0, requests=2)
    reports = [(5, 1), (4, 0), (2, 0), (5, 0)]
    seen = []
    for index, (running, waiting) in enumerate(reports):
        report = ReplicaReport(at=float(index), num_running=running, num_waiting=waiting, kv_usage=0.0)
        replica.take_report(report, float(index))
        seen.append(replica.external)
    assert seen == [0, 2, 0, 0]
    assert replica.num_running == 2


def test_blocks_in_the_making_are_counted_until_the_last_is_done() -> None:
    replica = Replica(info(0), 0)
    replica.begin_blocks([2, 3])
    replica.begin_blocks([3])
    assert [replica.num_computed([1, 2, 3], matched) for matched in (0, 1, 2, 3)] == [0, 1, 1, 1]
    replica.end_blocks([2, 3])
    assert replica.num_computed([1, 2, 3], 3) == 2
    replica.end_blocks([3, 99])
    assert replica.pending == {}
    assert replica.num_computed([1, 2, 3], 3) == 3


def test_a_backlog_shrinks_with_time_but_never_to_nothing() -> None:
    replica = Replica(info(0), 0)
    replica.model.prefill_s = 0.001
    replica.charge(4000, 0, 0, 1)
    replica.progress_at = 10.0
    assert [replica.backlog_s(10.0 + passed) for passed in (0, 1, 2, 3.5, 7)] == [4.0, 3.0, 2.0, 1.0, 1.0]
    assert replica.backlog_s(20.0) == 4.0, "long overdue: it may be stuck"


def test_ready_is_one_prompt_ahead_or_a_moment_of_them() -> None:
    replica = Replica(info(0), 0)
    replica.model.prefill_s = 0.001
    assert replica.is_ready(0.0)
    for _ in range(2):
        assert replica.is_ready(0.0), "50 ms of prompts are no reason to wait"
        replica.charge(50, 0, 0, 1)
        replica.num_unanswered += 1
    assert not replica.is_ready(0.0)
    replica.num_unanswered = 0
    assert replica.is_ready(0.0), "one is always sent to follow"


def test_fresh_streams_are_those_about_to_begin_and_those_that_just_have() -> None:
    replica = Replica(info(0), 0)
    replica.model.step_s, replica.model.step_crowd_s = 0.01, 0.0
    assert replica.num_fresh(5.0) == 0.0
    replica.num_unanswered = 2
    replica.begin_stream(10.0)
    replica.begin_stream(10.0)
    assert replica.num_fresh(10.0) == 4.0
    lasts_s = 0.01 * FRESH_TOKENS
    assert replica.num_fresh(10.0 + lasts_s) == pytest.approx(2 + 2 / math.e)
    assert replica.num_fresh(10.0 + 20 * lasts_s) == 2.0
    assert replica.num_fresh(9.0) == 4.0, "a clock that steps back revives nobody"


def test_costs_follow_the_service_by_a_factor_and_return_when_it_is_not_heard_of() -> None:
    typical = ReplicaModel()
    replica = Replica(info(0), 0, typical)
    for index in range(50):
        replica.compared_ttft.observe(5.0, 1.0, float(index))
    replica.compare(50.0)
    assert replica.model.prefill_s == pytest.approx(5 * typical.prefill_s, rel=0.05)
    assert replica.model.step_s == typical.step_s
    replica.compare(100.0)
    assert replica.model is typical


def test_blocks_of_prompts_in_flight_are_counted_once() -> None:
    replica = Replica(info(0), 0)
    assert replica.activate([1, 2, 3], 64.9) == 3 * 64
    assert replica.activate([1, 2, 4], 80.0) == 80
    assert len(replica.active) == 4
    assert [replica.num_new_active(blocks) for blocks in ([1, 2, 3], [1, 9, 3], [9])] == [0, 2, 1]
    assert replica.deactivate([1, 2, 3]) == 64, "what others still have is not given back"
    assert replica.deactivate([1, 2, 4]) == 2 * 64 + 80, "as it was counted, whatever a block is thought to be by now"
    assert replica.deactivate([1, 2, 4]) == 0
    assert not replica.active


def test_recent_work_fades() -> None:
    replica = Replica(info(0), 0)
    replica.add_work(2.0, 10.0)
    replica.add_work(1.0, 10.0)
    assert replica.recent_s(10.0) == replica.recent_s(9.0) == 3.0
    assert replica.recent_s(10.0 + WORK_S) == pytest.approx(3.0 / math.e)
    replica.add_work(1.0, 10.0 + WORK_S)
    assert replica.work_s == pytest.approx(1.0 + 3.0 / math.e)
