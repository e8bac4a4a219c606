"""The one reason a job waits, its place in the queue, and what would help."""

import pytest

from roadbed.scheduler.events import Cordon, Exited
from roadbed.scheduler.pool import Config
from roadbed.scheduler.quota import Quota
from tests.scheduler.cluster import Edge, job, nodes, scheduler


def test_no_room_with_its_funnel_victims_and_expected_start() -> None:
    edge = Edge(scheduler(nodes(2)), slow=True)
    edge.submit(0.0, job("a", 8, priority=5, duration_s=100.0), job("b", 8, priority=5, duration_s=400.0))
    edge.submit(1.0, *(job(f"w{at}", 8, duration_s=50.0) for at in range(3)))
    found = edge.scheduler.why("w1", 1.0)
    assert found.reason == "no_free_device"
    assert (found.position, found.num_waiting) == (2, 3)
    assert found.funnel is not None
    assert found.funnel.steps[-1].left == 0
    assert found.victims == ()
    assert found.standing is not None
    assert found.standing.used["gpu"] == 16_000
    first = edge.scheduler.why("w0", 1.0)
    assert first.expected_start_s == 100.0
    assert found.expected_start_s is not None
    assert found.expected_start_s > 100.0
    assert "position 2 of 3" in str(found)
    assert " → 0 " in str(found)


def test_who_would_have_to_leave() -> None:
    edge = Edge(scheduler(nodes(1), (), Config(preempt=False)))
    edge.submit(0.0, job("low", 8, priority=1))
    edge.submit(1.0, job("high", 8, priority=9))
    found = edge.scheduler.why("high", 1.0)
    assert found.victims == ("low",)
    assert "1 preemptible job would make room: low" in str(found)
    assert edge.scheduler.why("high", 1.0, what_if=False).victims == ()


@pytest.mark.parametrize(
    ("quotas", "first", "second", "reason"),
    [
        ((Quota(name="q", max={"gpu": 4000}),), job("a", 4, quota="q"), job("b", 1, quota="q"), "quota_max"),
        ((Quota(name="q", max={"gpu": 4000}),), job("a", 4, quota="q"), job("b", 8, quota="q"), "quota_max_too_small"),
        (
            (Quota(name="q"), Quota(name="k", min={"gpu": 8000}, lending=False)),
            job("a", 8, quota="q"), job("b", 1, quota="q"), "quota_not_lent",
        ),
        (
            (Quota(name="q"), Quota(name="k", min={"gpu": 16_000})),
            job("a", 8, quota="q"), job("b", 1, quota="q", preemptible=False), "quota_guarantee",
        ),
    ],
)  # fmt: skip
def test_quotas_say_no(quotas: tuple[Quota, ...], first: object, second: object, reason: str) -> None:
    edge = Edge(scheduler(nodes(2), quotas))
    edge.submit(0.0, first, second)  # type: ignore[arg-type]
    assert list(edge.running) == ["a"]
    assert edge.scheduler.why("b", 0.0).reason == reason


def test_not_its_turn() -> None:
    edge = Edge(scheduler(nodes(1), [Quota(name="default", strategy="fifo", backfill="off")]))
    edge.submit(0.0, job("a", 4), job("head", 8), job("small", 1))
    assert edge.scheduler.why("small", 0.0).reason == "queued"


def test_reserved() -> None:
    edge = Edge(scheduler(nodes(1)))
    edge.submit(0.0, job("a", 4, duration_s=100.0), job("head", 8), job("long", 1, duration_s=1e5))
    assert edge.scheduler.why("long", 0.0).reason == "reserved"


def test_impossible_has_a_funnel_and_no_hopes() -> None:
    edge = Edge(scheduler(nodes(2)))
    edge.tell(Cordon("n000"), 0.0)
    edge.submit(0.0, job("gang", 8, 2))
    found = edge.scheduler.why("gang", 0.0)
    assert (found.reason, found.expected_start_s, found.victims) == ("impossible", None, ())
    assert found.funnel is not None


def test_guesses_learn_how_far_off_they_are() -> None:
    edge = Edge(scheduler(nodes(1)))
    assert edge.scheduler.pool.eta_error == 0.5
    now = 0.0
    edge.submit(now, job("j0", 8, duration_s=100.0))
    for at in range(1, 40):
        edge.submit(now, job(f"j{at}", 8, duration_s=100.0))
        now += 100.0  # exactly as declared
        edge.exit(now, f"j{at - 1}")
    assert edge.scheduler.pool.eta_error < 0.1
    edge.submit(now, job("next", 8, duration_s=100.0))
    found = edge.scheduler.why("next", now)
    assert found.expected_start_s == now + 100.0
    assert found.error_s < 10.0


def test_asking_everybody_is_cheap_and_changes_nothing() -> None:
    edge = Edge(scheduler(nodes(4)))
    edge.submit(0.0, *(job(f"j{at}", 8, duration_s=100.0 + at) for at in range(40)))
    before = edge.scheduler.snapshot(1.0)
    places = [edge.scheduler.why(id_, 1.0).position for _, id_ in edge.scheduler.queue(1.0)]
    assert places == list(range(1, 37))
    assert edge.scheduler.snapshot(1.0) == before
    edge.scheduler.handle(Exited("j0"), 2.0)
    assert edge.scheduler.why("j4", 2.0).reason == "queued"
