"""Moving a few so that a gang fits: only when everybody has a place, counted and bounded."""

from roadbed.scheduler.events import Migrate
from roadbed.scheduler.pool import Config
from tests.scheduler.cluster import Edge, job, nodes, scheduler, starts


def scattered(moves: int, *, checkpoint_s: float = 100.0, cost: float = 1e6) -> Edge:
    """Two nodes, half of each in use by two-device jobs: eight devices are free, but on no one node."""
    edge = Edge(scheduler(nodes(2), (), Config(defrag_moves=moves, defrag_cost_device_s=cost)), slow=True)
    edge.submit(0.0, *(job(f"j{at}", 2, checkpoint_s=checkpoint_s) for at in range(8)))
    runs = edge.scheduler.pool.book.runs
    by_node: dict[int, list[str]] = {}
    for id_, run in runs.items():
        by_node.setdefault(run.placement.slots[0].node, []).append(id_)
        run.started = True
    for ids in by_node.values():
        for id_ in ids[:2]:
            edge.exit(1.0, id_)
    return edge


def test_off_by_default() -> None:
    assert scattered(0).submit(50.0, job("gang", 8)) == []


def test_it_moves_the_fewest_and_the_gang_starts_when_they_have_moved() -> None:
    edge = scattered(2)
    found = edge.submit(50.0, job("gang", 8))
    moves = [each for each in found if isinstance(each, Migrate)]
    assert len(moves) == len(found) == 2
    assert {each.reason for each in moves} == {"defrag"}
    assert sum(each.cost_device_s for each in moves) == 2 * 2 * 50.0
    assert edge.scheduler.why("gang", 51.0).reason == "victims_leaving"
    edge.moved(60.0, moves[0].id)
    assert edge.decide(60.0) == []
    edge.moved(61.0, moves[1].id)
    assert starts(edge.decide(61.0)) == ["gang"]
    assert edge.scheduler.pool.state.used_milli == 16_000


def test_never_more_moves_than_allowed() -> None:
    assert scattered(1).submit(50.0, job("gang", 8)) == []


def test_never_dearer_than_allowed() -> None:
    assert scattered(2, cost=100.0).submit(50.0, job("gang", 8)) == []


def test_who_never_saves_is_not_moved() -> None:
    assert scattered(2, checkpoint_s=0.0).submit(50.0, job("gang", 8)) == []


def test_nobody_moves_without_a_place_for_all() -> None:
    edge = scattered(4)
    edge.submit(40.0, job("filler", 2, preemptible=False), job("filler2", 1, preemptible=False))
    assert not [each for each in edge.submit(50.0, job("gang", 8)) if isinstance(each, Migrate)]
