"""The curve is a day, the load is a function of time and seed, the autoscaler follows it."""

from pathlib import Path

import pytest

from roadbed.errors import SpecError
from roadbed.scheduler.core import Scheduler
from roadbed.scheduler.planner import TreePlanner
from roadbed.scheduler.policies.bestfit import BestFit
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.kernel import Kernel
from roadbed.twin.service import DAY_S, Load, Service, ServiceSpec, read_curve
from roadbed.twin.world import World

CURVE = read_curve(Path(__file__).parents[1] / "data" / "genai_qps.csv")
SPEC = ServiceSpec(peak=8)


def test_the_curve_is_one_smooth_day() -> None:
    assert len(CURVE) == 144
    assert max(CURVE) == 1.0
    assert min(CURVE) >= 0
    assert sum(CURVE) / 144 < 0.7  # there is a night
    steps = [abs(CURVE[at] - CURVE[at - 1]) for at in range(1, 144)]
    assert max(steps) < 0.4


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("5,1\n5,2\n", "all of it is at one time"),
        ("1,0\n2,0\n", "every value is 0"),
        ("1,-1\n", ":2: value is -1"),
        ("", "at one time"),
    ],
)
def test_no_curves(tmp_path: Path, rows: str, words: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text("timestamp_anon,value\n" + rows)
    with pytest.raises(SpecError) as raised:
        read_curve(path)
    assert words in raised.value.message


def test_load_is_a_function_of_time_and_seed() -> None:
    one, same, other = (Load(CURVE, SPEC, seed) for seed in (1, 1, 2))
    times = [at * 977.0 - DAY_S for at in range(300)]
    assert [one.at(t) for t in times] == [same.at(t) for t in times]
    assert [one.at(t) for t in times] != [other.at(t) for t in times]
    assert all(0 <= one.at(t) <= SPEC.peak for t in times)
    quiet = Load(CURVE, ServiceSpec(peak=8, noise=0.0), 1)
    assert quiet.at(5000.0) == pytest.approx(quiet.at(5000.0 + 3 * DAY_S))
    top = max(range(144), key=lambda at: CURVE[at])
    assert quiet.at(top * DAY_S / 144) == pytest.approx(8.0)


def pool(devices: int) -> World:
    state = State([NodeInfo(name="n", cpu_milli=1, memory_mib=1, chip="T4", num_devices=devices)])
    quota = Quota(name="inference", min={"gpu": devices * 1000}, strategy="fifo", backfill="off")
    return World(Scheduler(state, TreePlanner(state, BestFit()), (quota,)), Kernel())


def test_replicas_follow_the_load() -> None:
    world = pool(8)
    service = Service(world, Load(CURVE, SPEC, 1))
    service.start()
    world.kernel.run(DAY_S)
    assert service.violations < 0.02
    assert max(ready for _, _, ready in service.curve) == 8
    assert min(ready for _, _, ready in service.curve[10:]) <= 2
    assert len(service.wanted) == len(world.live)
    late = [(load, ready) for _, load, ready in service.curve[10:]]
    assert sum(ready for _, ready in late) < 1.8 * sum(load for load, _ in late) + len(late)


def test_too_few_machines_are_violations() -> None:
    world = pool(3)
    service = Service(world, Load(CURVE, SPEC, 1))
    service.start()
    world.kernel.run(DAY_S)
    assert service.violations > 0.2
    assert service.num_ready <= 3
