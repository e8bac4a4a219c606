"""What the parts share: queues made anew, what is possible, memory that does not grow."""

import pytest

from roadbed.errors import UsageError
from roadbed.scheduler.order import Waiter
from roadbed.scheduler.pool import Pool, check_job
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import job, nodes, scheduler


def pool(*quotas: Quota, num_nodes: int = 2) -> Pool:
    return scheduler(nodes(num_nodes) + nodes(1, 4, chip="A100", first=50), quotas).pool


def enqueue(made: Pool, id_: str, devices: int = 1, num: int = 1, seq: int = 1, **more: object) -> Waiter:
    wanted = job(id_, devices, num, **more)  # type: ignore[arg-type]
    waiter = Waiter(wanted, made.kind_of(wanted.gang), seq, 0.0)
    made.enqueue(waiter)
    return waiter


def test_capacity_by_chip_without_what_is_down() -> None:
    made = pool()
    assert made.capacity() == {"gpu": 20_000, "cpu": 192_000, "H100": 16_000, "A100": 4000}
    made.down.add(2)
    assert made.capacity() == {"gpu": 16_000, "cpu": 128_000, "H100": 16_000}


def test_jobs_of_one_gang_share_a_kind() -> None:
    made = pool()
    first, second = enqueue(made, "a", seq=1), enqueue(made, "b", seq=2)
    assert first.kind is second.kind
    assert first.kind.num_waiting == 2
    made.dequeue(first)
    made.dequeue(second)
    assert second.kind.num_waiting == 0
    assert made.tree.nodes["default"].wanted == [0, 0]


def test_kinds_nobody_waits_for_are_forgotten() -> None:
    made = pool()
    kept = enqueue(made, "kept", 2)
    for cpu in range(5000):
        made.kind_of(job("x", cpu=cpu).gang)
    assert len(made.kinds) <= 2048
    assert made.kind_of(kept.job.gang) is kept.kind


def test_possible_follows_the_nodes() -> None:
    made = pool()
    waiter = enqueue(made, "a", 8, 2)
    bucket = made.queues["default"].bucket_of(waiter)
    assert bucket.idle == ""
    made.state.set_schedulable(0, False)
    made.down.add(0)
    made.nodes_changed()
    assert bucket.idle == "impossible"
    assert made.tree.capacity[0] == 12_000


def test_requests_name_the_chip_when_there_is_one() -> None:
    made = pool(Quota(name="q", max={"H100": 4000}))
    assert made.request(job("a", 2, 2, chips=("H100",))) == (4000, 2000, 4000)
    assert made.request(job("a", 2, 2, chips=("A100", "H100"))) == (4000, 2000, 0)


def test_a_quota_at_the_max_of_one_chip_uses_another() -> None:
    made = scheduler(nodes(1) + nodes(1, 8, chip="A100", first=50), [Quota(name="q", max={"H100": 4000})])
    for at in range(6):
        enqueue(made.pool, f"j{at}", 2, seq=at, quota="q")
    assert len(made.decide(0.0)) == 6
    chips = [made.pool.state.nodes[run.held[0].node].chip for run in made.pool.book.runs.values()]
    assert chips.count("H100") == 2


def test_replacing_quotas_keeps_past_use_and_order() -> None:
    made = pool(Quota(name="q", half_life_s=100.0))
    made.tree.nodes["q"].decayed = 0.5
    for at in range(4):
        enqueue(made, f"j{at}", seq=4 - at, quota="q")
    made.replace_quotas([Quota(name="q", weight=2.0, half_life_s=100.0)], 5.0)
    assert made.tree.nodes["q"].decayed == 0.5
    assert [waiter.job.id for waiter in made.queues["q"].in_order(5.0)] == ["j3", "j2", "j1", "j0"]
    assert made.tree.nodes["q"].wanted[0] == 4000


def test_checks_name_the_field() -> None:
    made = pool()
    with pytest.raises(UsageError) as error:
        check_job(job("a", 1, grace_s=-1.0), made.state, made.tree)
    assert error.value.field == "grace_s"
    assert error.value.hint == "roadbed schema task"
    check_job(job("a", 1), made.state, made.tree)
