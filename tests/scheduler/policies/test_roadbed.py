"""Ours: FGD where nothing is scarce; away from chips others insist on; CPU-heavy work where CPU is plentiful."""

from roadbed.scheduler.base import Shape
from roadbed.scheduler.placement import Placer
from roadbed.scheduler.policies.fgd import Fgd
from roadbed.scheduler.policies.roadbed import Roadbed
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target, target_of
from tests.scheduler.policies.score import machine, scores, used

WHOLE = Shape(num_devices=1)
T4_ONLY = Shape(num_devices=1, chips=("T4",))


def best(state: State, target: Target, shape: Shape) -> str:
    slot = Placer(state, Roadbed(state, target)).best(shape)
    assert slot is not None
    return state.nodes[slot.node].name


def test_without_scarcity_and_cpu_it_ranks_as_fgd_does() -> None:
    state = State([machine("a", 4), machine("b", 4), machine("c", 4)])
    used(state, 1, 500)
    used(state, 2, 1000)
    target = target_of([WHOLE, WHOLE, Shape(num_devices=1, milli=500)])
    for shape in (WHOLE, Shape(num_devices=1, milli=500), Shape(num_devices=4)):
        ours, theirs = scores(Roadbed(state, target), state, shape), scores(Fgd(state, target), state, shape)
        assert ours.index(max(ours)) == theirs.index(max(theirs))


def test_who_does_not_insist_keeps_off_what_others_need() -> None:
    state = State([machine("scarce", 4, chip="T4"), machine("plenty", 4, chip="H100")])
    target = target_of([WHOLE] * 5 + [T4_ONLY] * 5)
    assert best(state, target, WHOLE) == "plenty"
    assert best(state, target, T4_ONLY) == "scarce"
    assert best(state, target_of([WHOLE]), WHOLE) == "scarce"  # nobody insists: the first of equals


def test_cpu_goes_where_it_strands_no_device() -> None:
    state = State([machine("thin", 8, cpu=64_000), machine("fat", 2, cpu=64_000)])
    target = target_of([Shape(num_devices=1, cpu_milli=8000)])
    assert best(state, target, Shape(cpu_milli=20_000)) == "fat"


def test_a_fraction_goes_to_the_device_that_is_broken_already() -> None:
    state = State([machine("a", 3)])
    used(state, 0, 300, device=2)
    slot = Placer(state, Roadbed(state, target_of([WHOLE]))).best(Shape(num_devices=1, milli=500))
    assert slot is not None
    assert slot.devices == (2,)


def test_scores_are_whole_numbers_within_their_range() -> None:
    state = State([machine("a", 8), machine("b", 8, cpu=1000)])
    for target in (Target(), target_of([WHOLE, T4_ONLY])):
        for shape in (WHOLE, Shape(num_devices=1, milli=10), Shape(cpu_milli=500)):
            assert all(0 <= score <= 200 for score in scores(Roadbed(state, target), state, shape))
