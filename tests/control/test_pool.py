"""The live scheduler follows the store: told what it does not know, forgetting what is gone, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.control.pool import Claimed, LivePool
from roadbed.errors import NotFoundError, UsageError
from roadbed.scheduler.base import Gang, Job, Placement, Shape, Slot
from roadbed.scheduler.quota import Quota
from roadbed.spec.inventory import NodeInfo


def pool(cores: int = 4, num_nodes: int = 1) -> LivePool:
    return LivePool([NodeInfo(name=f"n{at}", cpu_milli=cores * 1000, memory_mib=4096) for at in range(num_nodes)])


def job(name: str, cores: float = 1.0, num: int = 1, **fields: object) -> Job:
    shape = Shape(cpu_milli=round(cores * 1000), memory_mib=64)
    return Job(id=f"task/{name}", gang=Gang(shape=shape, num=num), **fields)  # type: ignore[arg-type]


def waiting(*jobs: Job) -> dict[str, Claimed]:
    return {each.id: Claimed(each) for each in jobs}


def test_what_waits_is_granted_once_and_kept_until_it_is_carried_out() -> None:
    live = pool(cores=1)
    a, b = job("a"), job("b")
    for now in (1.0, 2.0, 3.0):
        live.sync("task", waiting(a, b), now)
        live.decide(now)
        assert set(live.granted) == {"task/a"}
    reason = live.reason("task/b", 3.0)
    assert reason is not None
    assert reason.code == "no_capacity"
    assert "1 core" in reason.message
    held = {a.id: Claimed(a, live.granted[a.id], 3.0), b.id: Claimed(b)}
    live.sync("task", held, 4.0)
    assert live.granted == {}
    assert live.exited(a.id, "finished", 5.0) is False
    live.sync("task", waiting(b), 5.0)
    live.decide(5.0)
    assert set(live.granted) == {"task/b"}


def test_a_new_control_process_adopts_what_runs_and_gives_it_to_nobody_else() -> None:
    live = pool(cores=2)
    a, b = job("a"), job("b", cores=2)
    running = Claimed(a, Placement((Slot(0),)), 1.0)
    live.sync("task", {a.id: running, b.id: Claimed(b)}, 10.0)
    live.decide(10.0)
    assert live.granted == {}
    assert live.free()[0][2] == 1000
    live.sync("task", waiting(b), 11.0)
    live.decide(11.0)
    assert set(live.granted) == {"task/b"}


def test_a_job_that_leaves_the_store_is_forgotten_wherever_it_was() -> None:
    live = pool(cores=1)
    live.sync("task", waiting(job("a"), job("b")), 1.0)
    live.decide(1.0)
    live.sync("task", {}, 2.0)
    assert live.queue(2.0) == []
    assert live.free()[0][2] == 1000
    assert live.holders() == []


def test_nouns_do_not_forget_each_other() -> None:
    live = pool()
    live.sync("task", waiting(job("a")), 1.0)
    live.sync("replica", {}, 1.0)
    live.decide(1.0)
    assert set(live.granted) == {"task/a"}


def test_what_can_never_run_is_refused_with_its_reason_and_asked_again_when_quotas_change() -> None:
    live = pool()
    odd = job("odd", quota="nlp")
    live.sync("task", waiting(odd), 1.0)
    refused = live.reason(odd.id, 1.0)
    assert refused is not None
    assert refused.code == "too_large"
    assert "no quota 'nlp'" in refused.message
    live.set_quotas((Quota(name="nlp"), Quota(name="default")), 2.0)
    live.sync("task", waiting(odd), 2.0)
    live.decide(2.0)
    assert set(live.granted) == {"task/odd"}
    with pytest.raises(UsageError):
        live.set_quotas((Quota(name="a", parent="b"), Quota(name="b", parent="a")), 3.0)


def test_how_many_changes_nothing_and_counts_what_would_leave() -> None:
    live = pool(cores=4)
    gang = job("x", cores=2).gang
    assert live.how_many(gang, 5) == 2
    runner = job("a", cores=3)
    live.sync("task", {runner.id: Claimed(runner, Placement((Slot(0),)), 0.0)}, 1.0)
    assert live.how_many(gang, 5) == 0
    assert live.how_many(gang, 5, [runner.id]) == 2
    assert live.free()[0][2] == 1000
    assert live.possible(job("y", cores=4).gang)
    assert not live.possible(job("z", cores=5).gang)


def test_a_cordoned_node_gets_nothing_until_it_is_back() -> None:
    live = pool(cores=1, num_nodes=1)
    live.set_node("n0", cordoned=True, drain=False, risk=0.0, now=1.0)
    live.sync("task", waiting(job("a")), 1.0)
    live.decide(1.0)
    assert live.granted == {}
    live.set_node("n0", cordoned=False, drain=False, risk=0.0, now=2.0)
    live.decide(2.0)
    assert set(live.granted) == {"task/a"}
    with pytest.raises(NotFoundError):
        live.set_node("gone", cordoned=True, drain=False, risk=0.0, now=3.0)


def test_time_never_runs_backwards_for_the_scheduler() -> None:
    live = pool()
    live.sync("task", waiting(job("a")), 100.0)
    live.decide(50.0)
    assert live.scheduler.snapshot(100.0).running[0].since_s == 100.0
    assert set(live.granted) == {"task/a"}


def test_higher_priority_work_preempts_and_the_victim_waits_again() -> None:
    live = pool(cores=1)
    low, high = job("low", priority=1), job("high", priority=9)
    live.sync("task", waiting(low), 1.0)
    live.decide(1.0)
    running = Claimed(low, live.granted[low.id], 1.0)
    live.sync("task", {low.id: running}, 2.0)
    live.started(low.id, 2.0)
    live.sync("task", {low.id: running, high.id: Claimed(high)}, 100.0)
    live.decide(100.0)
    assert live.stops[low.id].by == high.id
    assert live.exited(low.id, "stopped", 101.0) is True
    live.sync("task", waiting(low, high), 101.0)
    live.decide(101.0)
    assert set(live.granted) == {high.id}


STEPS = st.lists(
    st.tuples(st.sampled_from(["submit", "run", "exit", "drop", "decide"]), st.integers(0, 7)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(st.integers(1, 5), min_size=8, max_size=8))
def test_whatever_happens_the_books_agree(steps: list[tuple[str, int]], cores: list[int]) -> None:
    """A store that submits, carries out, ends and loses jobs in any order: free capacity is what nobody holds."""
    live = pool(cores=8)
    jobs = [job(str(at), cores=cores[at]) for at in range(8)]
    rows: dict[str, Claimed] = {}
    for number, (what, at) in enumerate(steps):
        now, id_ = float(number), jobs[at].id
        if what == "submit":
            rows.setdefault(id_, Claimed(jobs[at]))
        elif what == "run" and id_ in live.granted and id_ in rows:
            rows[id_] = Claimed(jobs[at], live.granted[id_], now)
        elif what == "exit" and id_ in rows and rows[id_].placement is not None:
            live.exited(id_, "finished", now)
            del rows[id_]
        elif what == "drop":
            rows.pop(id_, None)
        live.sync("task", rows, now)
        live.decide(now)
        held = {id_: placement for id_, placement, _ in live.holders()}
        assert set(held) == {id_ for id_, row in rows.items() if row.placement is not None} | set(live.granted)
        used = sum(live_job.gang.shape.cpu_milli for live_job in jobs if live_job.id in held)
        assert live.free()[0][2] == 8000 - used


def test_a_cordon_makes_nothing_impossible() -> None:
    live = pool(cores=4)
    (node,) = [node.name for node in live.nodes]
    live.set_node(node, cordoned=True, drain=False, risk=0.0, now=0.0)
    assert live.possible(job("fits", cores=4).gang)
    assert not live.possible(job("huge", cores=5).gang)
    assert "cordoned" not in str(live.never(job("huge", cores=5).gang))
    assert not live.how_many(job("fits", cores=4).gang, 1), "the cordon itself still stands"
    assert not live.free()[0][4]
