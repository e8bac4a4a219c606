"""Single stories of the core; test_core_machine.py drives it with random streams of events."""

import pytest

from roadbed.errors import UsageError
from roadbed.router.account import MemoryAccount
from roadbed.router.base import ReplicaReport
from roadbed.router.core import RouterCore
from tests.router.requests import info, request, router


def fill(core, num: int, now: float = 0.0, prefix: str = "fill") -> list[str]:
    names = [f"{prefix}{index}" for index in range(num)]
    for name in names:
        assert core.arrive(request(name), now).kind == "go"
    return names


def test_who_waits_for_a_start_is_never_hopeless() -> None:
    """Places that came free slowly, or not at all while nobody was there, say nothing of the replica that is coming."""
    core = router(1, max_queue=500, concurrency=1)
    running: list[str] = []
    for step in range(40):
        now = 0.5 * step
        decisions = [core.arrive(request(f"busy{step}-{i}"), now) for i in range(2)]
        if running:
            decisions += core.finish(running.pop(0), now, outcome_ok=True, prompt_tokens=1, completion_tokens=1)
        running += [one.request_id for one in decisions if one.kind == "go"]
    for draining in (True, False):
        core.set_replicas([info(0, concurrency=1, draining=True)] if draining else [], 60.0)
        core.tick(60.0)
        said = []
        for step in range(100):
            core.tick(60.0 + 0.1 * step)
            said.append(core.arrive(request(f"held{draining}{step}"), 60.0 + 0.1 * step).kind)
        assert set(said) == {"wait"}


def test_a_request_is_counted_from_go_to_finish() -> None:
    account = MemoryAccount()
    core = router(1, account=account)
    decision = core.arrive(request("a", prompt=100, output=20), 1.0)
    assert (decision.kind, decision.replica, decision.slot, decision.reason) == ("go", "r0", 0, "only_one")
    assert account.total(0) == [1, 100, 120, 20]
    core.first_byte("a", 2.0)
    assert account.total(0) == [1, 0, 120, 20]
    assert core.finish("a", 3.0, outcome_ok=True, prompt_tokens=90, cached_tokens=0, completion_tokens=10) == []
    assert account.total(0) == [0, 0, 0, 0]
    assert account.totals[0] == [1, 90, 0, 10]
    core.finish("a", 4.0, outcome_ok=True, prompt_tokens=90, completion_tokens=10)
    core.cancel("a", 4.0)
    assert account.total(0) == [0, 0, 0, 0]
    assert account.totals[0] == [1, 90, 0, 10]


def test_the_same_id_twice_is_the_callers_mistake() -> None:
    core = router(1, concurrency=1)
    core.arrive(request("a"), 0.0)
    with pytest.raises(ValueError, match="already in flight"):
        core.arrive(request("a"), 0.0)


def test_full_replicas_make_requests_wait_and_a_finish_releases_them() -> None:
    core = router(1, concurrency=1)  # one runs, one runs ahead
    fill(core, 2)
    assert core.arrive(request("c"), 1.0).kind == "wait"
    released = core.finish("fill0", 2.0, outcome_ok=True, completion_tokens=5)
    assert [(decision.request_id, decision.kind) for decision in released] == [("c", "go")]
    assert core.num_waiting == 0


def test_priority_goes_first_and_a_full_queue_displaces_the_last() -> None:
    core = router(1, concurrency=1, max_queue=2)
    fill(core, 2)
    core.arrive(request("bulk", priority=9), 1.0)
    core.arrive(request("normal"), 1.0)
    assert core.arrive(request("vip", priority=1), 1.0).kind == "wait"
    shed = core.arrive(request("bulk2", priority=9), 1.0)
    assert (shed.kind, shed.reason) == ("shed", "queue_full")
    assert shed.retry_after_s > 0
    told = core.tick(1.0)
    assert [(decision.request_id, decision.reason) for decision in told] == [("bulk", "displaced")]
    assert [d.request_id for d in core.finish("fill0", 2.0, outcome_ok=False)] == ["vip"]


def test_waits_end_at_the_deadline_with_an_honest_retry_after() -> None:
    core = router(1, concurrency=1)
    fill(core, 2)
    core.arrive(request("hurry", deadline=3.0), 1.0)
    core.arrive(request("patient"), 1.0)
    assert core.tick(2.9) == []
    assert [(d.request_id, d.kind, d.reason) for d in core.tick(3.0)] == [("hurry", "shed", "deadline")]
    assert [d.request_id for d in core.tick(31.0)] == ["patient"]
    assert core.arrive(request("too late", deadline=31.0), 31.0).reason == "deadline"


def test_retry_after_grows_with_the_queue() -> None:
    core = router(1, concurrency=1, max_queue=1)
    fill(core, 2)
    core.arrive(request("a"), 0.0)
    one = core.arrive(request("b"), 0.0).retry_after_s
    core.configure(policy="roadbed", max_queue=3, max_wait_s=30.0)
    core.arrive(request("c"), 0.0)
    core.arrive(request("d"), 0.0)
    longer = core.arrive(request("e"), 0.0).retry_after_s
    assert longer > 1.5 * one
    assert core.arrive(request("f"), 0.0).retry_after_s > longer, "nobody is told to come back together with another"


def test_no_queue_at_all_sheds_at_once() -> None:
    core = router(1, concurrency=1, max_queue=0)
    fill(core, 2)
    assert core.arrive(request("c"), 0.0).reason == "queue_full"


def test_a_lost_replica_sends_the_request_elsewhere_until_all_were_tried() -> None:
    account = MemoryAccount()
    core = router(2, account=account)
    first = core.arrive(request("a"), 0.0)
    second = core.failed("a", 0.1)
    assert second.kind == "go"
    assert {first.slot, second.slot} == {0, 1}
    last = core.failed("a", 0.2)
    assert (last.kind, last.reason) == ("shed", "no_replica")
    assert account.total(0) == account.total(1) == [0, 0, 0, 0]


def test_a_retry_waits_for_an_untried_replica_and_lets_others_pass() -> None:
    core = router(2, concurrency=1)
    core.set_replicas([info(0, concurrency=1), info(1, concurrency=1, draining=True)], 0.0)
    assert core.arrive(request("a"), 0.0).slot == 0
    core.set_replicas([info(0, concurrency=1), info(1, concurrency=1)], 0.0)
    assert [core.arrive(request(name), 0.0).slot for name in ("b", "c")] == [1, 1]
    assert core.failed("a", 0.1).kind == "wait"
    core.arrive(request("d"), 0.1)
    assert [(d.request_id, d.slot) for d in core.tick(5.0)] == [("d", 0)]
    assert [(d.request_id, d.slot) for d in core.finish("b", 6.0, outcome_ok=True)] == [("a", 1)]


def test_a_failing_replica_is_left_alone_for_a_while_and_trusted_once_it_answers() -> None:
    core = router(2)
    slot = core.arrive(request("a"), 0.0).slot
    core.failed("a", 0.0)
    assert {core.arrive(request(f"b{i}"), 0.1).slot for i in range(3)} == {1 - slot}
    core.tick(0.3)
    assert core.arrive(request("c"), 0.3).slot == slot
    core.first_byte("c", 0.4)
    core.suspect(slot, 0.5)
    core.tick(0.8)
    assert core.arrive(request("d"), 0.8).slot == slot  # backed off anew from the shortest


def test_without_replicas_requests_wait_for_one() -> None:
    core = router(0)
    assert core.arrive(request("a"), 0.0).kind == "wait"
    assert core.arrive(request("b", deadline=1.0), 0.0).kind == "wait"
    assert [(d.request_id, d.reason) for d in core.tick(1.0)] == [("b", "no_replica")]
    core.set_replicas([info(7)], 2.0)
    assert [(d.request_id, d.slot) for d in core.tick(2.0)] == [("a", 7)]


def test_draining_and_removed_replicas_get_nothing_new_and_are_released_exactly() -> None:
    account = MemoryAccount()
    core = router(2, account=account)
    on = {core.arrive(request(name), 0.0).slot: name for name in ("a", "b")}
    core.set_replicas([info(0, draining=True), info(1)], 1.0)
    assert {core.arrive(request(f"c{i}"), 1.0).slot for i in range(3)} == {1}
    core.set_replicas([info(1)], 2.0)
    assert account.total(0)[0] == 1
    core.finish(on[0], 3.0, outcome_ok=True, prompt_tokens=5, completion_tokens=5)
    assert account.total(0) == [0, 0, 0, 0]


def test_a_slot_with_another_id_is_a_new_replica_with_an_empty_cache() -> None:
    account = MemoryAccount()
    core = router(1, account=account)
    core.arrive(request("a", blocks=[1, 2, 3]), 0.0)
    assert core.num_prefix_blocks == 3
    core.set_replicas([info(0, name="reborn")], 1.0)
    assert core.num_prefix_blocks == 0
    assert core.replicas[0].num_running == 1
    core.finish("a", 2.0, outcome_ok=True)
    assert account.total(0) == [0, 0, 0, 0]
    assert core.arrive(request("b"), 2.0).replica == "reborn"


def test_an_idle_replica_takes_what_exceeds_its_cache_but_a_busy_one_does_not() -> None:
    core = router(1, concurrency=8)
    assert core.arrive(request("huge", prompt=150_000), 0.0).kind == "go"
    assert core.arrive(request("small"), 0.0).kind == "wait"
    assert [d.request_id for d in core.finish("huge", 1.0, outcome_ok=True)] == ["small"]


def test_shared_prefixes_attract_from_the_moment_of_dispatch() -> None:
    core = router(4)
    first = core.arrive(request("a", blocks=range(30)), 0.0)
    second = core.arrive(request("b", blocks=[*range(29), 99]), 0.0)
    assert (second.slot, second.reason, second.matched_tokens) == (first.slot, "prefix", 29 * 64)


def test_a_session_returns_to_where_its_answer_is_cached() -> None:
    core = router(4)
    slot = core.arrive(request("a", prompt=60, session="s"), 0.0).slot
    core.first_byte("a", 0.1)
    core.finish("a", 1.0, outcome_ok=True, prompt_tokens=60, cached_tokens=0, completion_tokens=300)
    back = core.arrive(request("b", prompt=400, session="s"), 2.0)
    assert (back.slot, back.reason, back.matched_tokens) == (slot, "sticky", 360)
    stranger = core.arrive(request("c", prompt=400, session="other"), 2.0)
    assert stranger.matched_tokens == 0
    assert core.arrive(request("d", prompt=400, session="s"), 1803.0).matched_tokens == 0


def test_what_the_engine_says_runs_besides_ours_counts_once_it_says_so_twice() -> None:
    core = router(1, concurrency=1)
    busy = ReplicaReport(at=1.0, num_running=2, num_waiting=0, kv_usage=0.1)
    core.report(0, busy, 1.0)
    assert core.replicas[0].num_running == 0
    core.report(0, busy, 1.5)
    assert core.replicas[0].num_running == 2
    assert core.arrive(request("a"), 2.0).kind == "wait"
    core.report(0, ReplicaReport(at=2.0, num_running=0, num_waiting=0, kv_usage=0.0), 2.0)
    assert [d.request_id for d in core.tick(2.0)] == ["a"]
    core.report(0, busy, 60.0)  # stale
    core.report(0, busy, 60.0)
    assert core.replicas[0].num_running == 1


def test_workers_see_each_others_requests() -> None:
    account = MemoryAccount()
    one, two = router(2, account=account, worker=0), router(2, account=account, worker=1)
    slots = [core.arrive(request(f"{i}"), 0.0).slot for i, core in enumerate([one, two, one, two])]
    assert sorted(slots) == [0, 0, 1, 1]
    full = [two.arrive(request(f"x{i}"), 0.0).kind for i in range(7)]
    assert full == ["go"] * 6 + ["wait"]
    one.finish("0", 1.0, outcome_ok=True)
    assert [d.kind for d in two.tick(1.0)] == ["go"]


def test_prefix_news_travel_between_workers() -> None:
    account = MemoryAccount()
    one = router(4, account=account, worker=0, publish_news=True)
    two = router(4, account=account, worker=1)
    slot = one.arrive(request("a", blocks=range(20)), 0.0).slot
    news = one.drain_news()
    assert news == [(slot, list(range(20)))]
    assert one.drain_news() == []
    two.prefix_news(slot, news[0][1], 0.0)
    two.prefix_news(99, [1], 0.0)
    assert two.arrive(request("b", blocks=range(20)), 0.1).slot == slot
    two.prefix_news(slot, news[0][1], 0.2, removed=True)
    assert two.num_prefix_blocks == 0


def test_engines_that_cache_nothing_lose_their_attraction() -> None:
    core = router(2)
    for index in range(80):
        now = index * 5.0
        core.arrive(request(f"{index}", blocks=range(30)), now)
        core.first_byte(f"{index}", now + 0.4)
        core.finish(f"{index}", now + 1, outcome_ok=True, prompt_tokens=1920, cached_tokens=0, completion_tokens=50)
    assert min(replica.own_model.trust for replica in core.replicas) < 0.1


def test_unary_prefill_is_released_when_it_should_be_over() -> None:
    account = MemoryAccount()
    core = router(1, account=account)
    ttft_s = core.arrive(request("a", prompt=1000, stream=False), 0.0).predicted_ttft_s
    core.tick(ttft_s * 0.9)
    assert account.total(0)[1] == 1000
    core.tick(ttft_s)
    assert account.total(0)[1] == 0
    core.finish("a", 9.0, outcome_ok=True, prompt_tokens=1000, completion_tokens=50)
    assert account.total(0) == [0, 0, 0, 0]


def test_estimates_for_the_next_request_improve() -> None:
    core = router(1)
    assert core.output_tokens(10) == 10
    for index in range(100):
        features = request(f"{index}", prompt=500)
        features.prompt_bytes = 1000
        core.arrive(features, float(index))
        core.finish(f"{index}", index + 0.5, outcome_ok=True, prompt_tokens=500, completion_tokens=7)
    assert core.output_tokens(None) == pytest.approx(7, abs=2)
    assert core.prompt_tokens(2000) == pytest.approx(1000, rel=0.25)
    assert core.block_tokens == pytest.approx(128, rel=0.25)
    assert core.prompt_tokens(0) == 1


def test_unknown_policies_are_named() -> None:
    core = router(1)
    with pytest.raises(UsageError, match="round_robin"):
        core.configure(policy="fastest", max_queue=1, max_wait_s=1.0)


def test_a_cancelled_wait_is_never_decided() -> None:
    core = router(1, concurrency=1)
    fill(core, 2)
    core.arrive(request("c"), 0.0)
    assert core.cancel("c", 0.1) == []
    assert core.finish("fill0", 1.0, outcome_ok=True) == []
    assert core.failed("c", 2.0).reason == "unknown_request"


def test_a_freed_place_goes_to_the_waiting_request_whose_prefix_is_there() -> None:
    core = router(2, concurrency=1)
    slots = {}
    for name, family in (("a", 1000), ("b", 2000), ("c", 1000), ("d", 2000)):
        slots[name] = core.arrive(request(name, blocks=range(family, family + 20)), 0.0).slot
    assert slots["a"] == slots["c"] != slots["b"] == slots["d"]
    core.arrive(request("wants b", blocks=range(2000, 2020)), 1.0)
    core.arrive(request("wants a", blocks=range(1000, 1020)), 1.0)
    assert [d.request_id for d in core.finish("a", 1.5, outcome_ok=False)] == ["wants a"]
    assert core.finish("c", 1.5, outcome_ok=False) == [], "its prefix is being computed elsewhere"
    assert [d.request_id for d in core.finish("b", 1.5, outcome_ok=False)] == ["wants b"]


def test_being_passed_over_ends() -> None:
    core = router(1, concurrency=1, max_queue=100)
    core.arrive(request("x0", blocks=range(20)), 0.0)
    core.arrive(request("x1", blocks=range(20)), 0.0)
    core.arrive(request("stranger", blocks=range(900, 902)), 0.0)
    order = []
    for index in range(2, 40):
        core.arrive(request(f"x{index}", blocks=range(20)), 0.0)
    for index in range(38):
        order += [d.request_id for d in core.finish(f"x{index}", 1.0, outcome_ok=False)]
    assert order.index("stranger") == 16


def test_short_prompts_pass_long_ones_but_only_for_a_while() -> None:
    core = router(1, concurrency=1, max_queue=100)
    names = ["run0", "run1"]
    for name in names:
        core.arrive(request(name, prompt=10), 0.0)
    core.arrive(request("long", prompt=5000), 0.0)  # 1 s of prefill waits like 20 s
    arrivals = [(f"short{second}", float(second)) for second in (1, 9, 18, 30)]
    for name, at in arrivals:
        core.arrive(request(name, prompt=10), at)
    order = []
    for name in ("run0", "run1", "short1", "short9", "short18", "long"):
        order += [d.request_id for d in core.finish(name, 31.0, outcome_ok=False)]
    assert order == ["short1", "short9", "short18", "long", "short30"]


def prompts_queued(core: RouterCore) -> int:
    return core.replicas[0].num_unanswered


def test_prompts_wait_here_rather_than_in_the_engine_once_its_pace_is_known() -> None:
    core = router(1, concurrency=64, max_queue=100)
    for index in range(40):  # 1 s per 1000 tokens
        core.arrive(request(f"w{index}", prompt=500 + index), 2.0 * index)
        core.first_byte(f"w{index}", 2.0 * index + 0.5)
        core.finish(f"w{index}", 2.0 * index + 0.6, outcome_ok=True, prompt_tokens=500 + index, completion_tokens=2)
    kinds = [core.arrive(request(f"q{index}", prompt=1000), 100.0).kind for index in range(6)]
    assert kinds == ["go", "wait", "wait", "wait", "wait", "wait"]
    assert prompts_queued(core) == 1
    core.first_byte("q0", 101.0)
    assert [d.request_id for d in core.tick(101.005)] == ["q1"]


def test_priority_comes_before_affinity() -> None:
    core = router(1, concurrency=1)
    core.arrive(request("a", blocks=range(20)), 0.0)
    core.arrive(request("b", blocks=range(20)), 0.0)
    core.arrive(request("fits", blocks=range(20)), 0.0)
    core.arrive(request("vip", blocks=range(900, 920), priority=1), 0.0)
    assert [d.request_id for d in core.finish("a", 1.0, outcome_ok=False)] == ["vip"]


@pytest.mark.parametrize("speed", [0.01, 1.0, 100.0])
def test_a_new_replica_is_used_however_cheap_or_dear_its_sister_turned_out(speed: float) -> None:
    """Scaled up under two requests at a time, with costs far from our prior: the newcomer must get its half."""
    core = router(1)
    used: dict[str, int] = {"r0": 0, "r1": 0}
    now = 0.0
    for step in range(80):
        if step == 40:
            core.set_replicas([info(0), info(1)], now)
        pair = [f"{step}-{number}" for number in range(2)]
        decisions = [core.arrive(request(name, prompt=50, output=20), now) for name in pair]
        core.first_byte(pair[0], now + 0.01 * speed)
        decisions += core.tick(now + 0.01 * speed)
        core.first_byte(pair[1], now + (0.01 if decisions[1].kind == "go" else 0.02) * speed)
        for decision in decisions:
            if decision.kind == "go":
                used[decision.replica] += 1
        now += 0.2 * speed
        for name in pair:
            core.finish(name, now, outcome_ok=True, prompt_tokens=50, cached_tokens=0, completion_tokens=20)
    assert used["r1"] >= 30


def unsharing(num_replicas: int = 1, **settings: int) -> RouterCore:
    """A router that has seen its engines compute a prefix twice at the same time."""
    core = router(num_replicas, **settings)
    for replica in core.replicas:
        replica.own_model.observe_pending(False)
        replica.model.pending_trust = replica.own_model.pending_trust
    return core


def test_a_prefix_computed_twice_at_once_teaches_to_wait_for_the_first() -> None:
    core = router(1)
    for name in ("a", "b"):
        assert core.arrive(request(name, blocks=range(30)), 0.0).kind == "go"
    for name in ("a", "b"):
        core.first_byte(name, 0.5)
        core.finish(name, 1.0, outcome_ok=True, prompt_tokens=1920, cached_tokens=0, completion_tokens=5)
    assert not core.replicas[0].own_model.shares_pending
    assert core.arrive(request("c", blocks=range(100, 130)), 10.0).kind == "go"
    held = core.arrive(request("d", blocks=range(100, 130)), 10.0)
    assert (held.kind, held.reason) == ("wait", "hold")


def test_a_held_request_goes_when_its_prefix_is_there() -> None:
    core = unsharing()
    first = core.arrive(request("a", blocks=range(30)), 0.0)
    assert core.arrive(request("b", blocks=[*range(29), 99]), 0.0).reason == "hold"
    assert core.tick(0.1) == []
    assert core.arrive(request("stranger", blocks=range(200, 210)), 0.1).kind == "go", "nobody waits behind it"
    core.first_byte("a", 0.2)
    [decision] = core.tick(0.2)
    assert (decision.request_id, decision.slot, decision.matched_tokens) == ("b", first.slot, 29 * 64)
    assert core.replicas[first.slot].held == 0


@pytest.mark.parametrize("end", ["failed", "cancel", "finish"])
def test_a_held_request_outlives_the_one_it_waits_for(end: str) -> None:
    core = unsharing()
    core.arrive(request("a", blocks=range(30)), 0.0)
    assert core.arrive(request("b", blocks=range(30)), 0.0).reason == "hold"
    if end == "failed":
        core.failed("a", 0.1)
        core.cancel("a", 0.1)
    elif end == "cancel":
        core.cancel("a", 0.1)
    else:
        core.finish("a", 0.1, outcome_ok=False)
    core.tick(1.0)
    assert core.num_waiting == core.replicas[0].held == 0
    assert "b" in core._live
    assert len(core.replicas[0].pending) == 30, "its own"


def test_a_held_request_that_leaves_or_is_too_late_leaves_nothing_behind() -> None:
    core = unsharing()
    core.arrive(request("a", blocks=range(30)), 0.0)
    core.arrive(request("b", blocks=range(30)), 0.0)
    core.arrive(request("c", blocks=range(30), deadline=1.0), 0.0)
    assert sum(replica.held for replica in core.replicas) > 0
    core.cancel("b", 0.5)
    assert [(d.request_id, d.reason) for d in core.tick(1.5)] == [("c", "deadline")]
    assert (core.num_waiting, core._num_held) == (0, 0)
    assert core.replicas[0].held == 0


def test_a_full_holder_is_worth_waiting_for_when_the_prefix_is_long_and_its_slot_soon_free() -> None:
    core = router(2, concurrency=1)
    for replica in core.replicas:
        replica.model.prefill_s = 0.005
    slot = core.arrive(request("a", blocks=range(40), output=2), 0.0).slot
    core.first_byte("a", 1.0)
    core.finish("a", 1.0, outcome_ok=True, completion_tokens=2)
    for name in ("b", "c"):
        assert core.arrive(request(name, blocks=range(40), output=2), 2.0).slot == slot
    held = core.arrive(request("d", blocks=range(40), output=2), 2.0)
    assert (held.kind, held.reason) == ("wait", "hold"), "12.8 s of prefill next door, or a moment here"
    other = core.arrive(request("short", prompt=10, output=2), 2.0)
    assert (other.kind, other.slot) == ("go", 1 - slot)
    assert [(d.request_id, d.slot) for d in core.finish("b", 2.5, outcome_ok=True)] == [("d", slot)]


def test_without_admission_everything_is_sent_at_once() -> None:
    core = RouterCore(account=MemoryAccount().view(), policy="round_robin", max_queue=0, admission=False)
    core.set_replicas([info(0, concurrency=1, kv_tokens=100), info(1, concurrency=1, kv_tokens=100)], 0.0)
    decisions = [core.arrive(request(f"q{n}", prompt=5000), 0.1) for n in range(40)]
    assert {decision.kind for decision in decisions} == {"go"}
    assert core.replicas[0].num_running == 20


def test_who_waits_for_a_first_token_is_counted() -> None:
    core = router(1)
    for name in ("a", "b", "c"):
        core.arrive(request(name, prompt=100), 0.0)
    assert core.replicas[0].num_unanswered == 3
    core.first_byte("a", 0.1)
    core.first_byte("a", 0.2)
    core.cancel("b", 0.3)
    core.finish("a", 0.4, outcome_ok=True)
    assert core.replicas[0].num_unanswered == 1


def test_blocks_in_flight_are_kept_for_those_who_ask() -> None:
    core = router(1, policy="dynamo_linear")
    core.arrive(request("a", blocks=[1, 2, 3]), 0.0)
    core.arrive(request("b", blocks=[1, 2, 4]), 0.0)
    assert set(core.replicas[0].active) == {1, 2, 3, 4}
    core.finish("a", 0.4, outcome_ok=True)
    assert set(core.replicas[0].active) == {1, 2, 4}
    core.cancel("b", 0.5)
    assert not core.replicas[0].active


def warm(core: RouterCore, num: int = 40) -> float:
    """Lets a core learn 1 ms per prompt token, 10 ms per step; returns the time."""
    now = 0.0
    for index in range(num):
        name, prompt = f"warm{index}", 200 + 10 * index
        core.arrive(request(name, prompt=prompt), now)
        core.first_byte(name, now + prompt / 1e3)
        core.finish(
            name, now + prompt / 1e3 + 0.2, outcome_ok=True, prompt_tokens=prompt, cached_tokens=0, completion_tokens=20
        )
        now += 2.0
    return now


def test_batch_requests_fill_gaps() -> None:
    core = router(2, concurrency=64, max_queue=100)
    now = warm(core)
    first = core.arrive(request("batch0", prompt=1000, priority=9), now)
    assert first.kind == "go", "nobody minds"
    assert core.arrive(request("batch1", prompt=1000, priority=9), now).reason == "gap", "the other is kept free"
    ask = core.arrive(request("ask", prompt=1000), now + 0.1)
    assert (ask.kind, ask.slot != first.slot) == ("go", True)
    core.first_byte("batch0", now + 1.0)
    assert core.tick(now + 1.01) == [], "batch0 has just begun"
    assert [d.request_id for d in core.tick(now + 1.09)] == [], "so it still has"
    core.first_byte("ask", now + 1.1)
    assert [d.request_id for d in core.tick(now + 3.0)] == ["batch1"]
    assert core.num_waiting == 0


def test_batch_requests_wait_for_gaps_only_so_long() -> None:
    core = router(1, concurrency=64, max_queue=100)
    now = warm(core)
    core.arrive(request("ask0", prompt=100_000), now)
    assert core.arrive(request("batch", prompt=100, priority=9), now).reason == "gap"
    with pytest.raises(ValueError, match="in flight"):
        core.arrive(request("batch"), now + 0.1)
    assert core.tick(now + 14.9) == []
    assert core.tick(now + 15.1) == []
    assert core.num_waiting == 1, "now it waits like others"
    assert [(d.request_id, d.reason) for d in core.tick(now + 30.1)] == [("batch", "deadline")]


def test_batch_requests_wait_beside_the_queue_also_when_others_wait() -> None:
    core = router(1, concurrency=1, max_queue=10)
    fill(core, 2)
    assert core.arrive(request("ask"), 1.0).reason == "busy"
    assert core.arrive(request("batch", priority=9), 1.0).reason == "gap"
    assert [d.request_id for d in core.finish("fill0", 2.0, outcome_ok=False)] == ["ask"]


def test_who_fills_gaps_is_the_first_to_be_displaced() -> None:
    core = router(1, concurrency=1, max_queue=2)
    fill(core, 2)
    core.arrive(request("batch", priority=9), 1.0)
    core.arrive(request("ask0"), 1.0)
    assert core.arrive(request("ask1"), 1.0).kind == "wait"
    assert [(d.request_id, d.reason) for d in core.tick(1.0)] == [("batch", "displaced")]
    assert core.cancel("ask1", 1.1) == []
    assert core.num_waiting == 1


def test_waiting_in_vain_is_refused_at_once() -> None:
    core = router(1, concurrency=1, max_queue=1000)
    core.configure(policy="roadbed", max_queue=1000, max_wait_s=10.0)
    fill(core, 2)
    now, sent = 0.0, [f"fill{index}" for index in range(2)]
    for index in range(40):
        core.arrive(request(f"q{index}"), now)
    for _ in range(16):  # two per second leave
        now += 0.5
        sent += [d.request_id for d in core.finish(sent.pop(0), now, outcome_ok=False) if d.kind == "go"]
    late = [core.arrive(request(f"late{index}"), now) for index in range(20)]
    assert late[0].kind == "wait"
    assert (late[-1].kind, late[-1].reason) == ("shed", "hopeless")
    assert 2.0 < late[-1].retry_after_s < 20.0


def test_a_prefix_in_use_is_counted_once_and_a_replaced_replica_gives_back_what_it_took() -> None:
    account = MemoryAccount()
    core = router(1, account=account, concurrency=8)
    for name in ("a", "b"):
        core.arrive(request(name, blocks=range(10), prompt=700, output=100), 0.0)
    assert account.rows[0, 0][2] == 10 * 64 + 2 * (60 + 100), "the shared blocks, then what is each one's own"
    core.finish("a", 1.0, outcome_ok=False)
    assert account.rows[0, 0][2] == 10 * 64 + 160
    core.set_replicas([info(0, name="another")], 2.0)
    core.arrive(request("c", blocks=range(5), prompt=330, output=10), 2.0)
    core.finish("b", 3.0, outcome_ok=False)
    assert account.rows[0, 0][2] == 5 * 64 + 20
    core.finish("c", 4.0, outcome_ok=False)
    assert account.rows[0, 0] == [0, 0, 0, 0]
