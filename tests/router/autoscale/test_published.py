import pytest

from roadbed.router.autoscale import Bounds, Load
from roadbed.router.autoscale.published import Apa, Hpa, Kpa

WIDE = Bounds(num_min=1, num_max=100, target=10.0)


def load(at: float, num: int, amount: float, waiting: int = 0) -> Load:
    return Load(at=at, num_replicas=num, amount=amount, num_waiting=waiting, num_running=int(amount))


def test_hpa_is_proportional_beyond_its_tolerance() -> None:
    assert Hpa(WIDE).decide(load(0, 4, 44.0)).num_replicas == 4
    assert Hpa(WIDE).decide(load(0, 4, 44.1)).num_replicas == 5
    assert Hpa(WIDE).decide(load(0, 4, 40.0, waiting=20)).num_replicas == 6


def test_hpa_at_most_doubles_in_fifteen_seconds() -> None:
    hpa = Hpa(WIDE)
    assert hpa.decide(load(0, 10, 900.0)).num_replicas == 20
    assert hpa.decide(load(10, 20, 900.0)).num_replicas == 20
    assert hpa.decide(load(16, 20, 900.0)).num_replicas == 40
    assert Hpa(WIDE).decide(load(0, 1, 900.0)).num_replicas == 5


def test_hpa_goes_down_to_the_largest_wish_of_five_minutes() -> None:
    hpa = Hpa(WIDE)
    assert hpa.decide(load(0, 10, 100.0)).num_replicas == 10
    assert hpa.decide(load(15, 10, 70.0)).num_replicas == 10
    assert hpa.decide(load(30, 10, 50.0)).num_replicas == 10
    assert hpa.decide(load(305, 10, 50.0)).num_replicas == 7
    assert hpa.decide(load(331, 7, 50.0)).num_replicas == 5


def test_hpa_takes_what_is_there_at_first_for_recommended() -> None:
    hpa = Hpa(WIDE)
    assert [hpa.decide(load(at, 8, 20.0)).num_replicas for at in (0, 150, 300)] == [8, 8, 8]
    assert hpa.decide(load(301, 8, 20.0)).num_replicas == 2


def test_kpa_follows_the_mean_of_three_minutes() -> None:
    kpa = Kpa(WIDE)
    for at in range(0, 180, 10):
        target = kpa.decide(load(at, 3, 30.0))
    assert target.num_replicas == 3
    target = kpa.decide(load(180, 3, 48.0))  # the first is 180 s old and gone: 17 · 30 + 48 over 18 is 31
    assert target.num_replicas == 4


def test_kpa_panics_at_twice_its_size_and_then_never_goes_down() -> None:
    kpa = Kpa(WIDE)
    assert kpa.decide(load(0, 2, 39.0)).num_replicas == 4
    kpa = Kpa(WIDE)
    for at in range(0, 120, 10):
        kpa.decide(load(at, 2, 20.0))
    for at in range(120, 180, 10):
        target = kpa.decide(load(at, 2, 60.0))
    assert target.num_replicas == 6, "the last minute's mean, not 33"
    for at in range(180, 340, 10):
        assert kpa.decide(load(at, 6, 5.0)).num_replicas == 6
    for at in range(340, 600, 10):
        target = kpa.decide(load(at, 6, 5.0))
    assert target.num_replicas == 1


@pytest.mark.parametrize(
    ("num", "amount", "expected"), [(4, 44.0, 4), (4, 45.0, 5), (4, 120.0, 8), (4, 36.0, 4), (4, 29.0, 3), (5, 1.0, 2)]
)
def test_apa_by_hand(num: int, amount: float, expected: int) -> None:
    assert Apa(WIDE).decide(load(0, num, amount)).num_replicas == expected
