"""Autoscaled fleets: who decides when, what is paid for, and that nobody is lost when replicas come and go."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.profiles.model import Curve, StepModel, line
from roadbed.router.autoscale import AUTOSCALERS
from roadbed.twin.kernel import Kernel
from roadbed.twin.serve import Server, Settings, World
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_figures import Outcomes
from roadbed.twin.serve_fleet_scale import Scaler, Scaling
from roadbed.twin.serve_synthetic import Recipe, generate
from roadbed.twin.serve_trace import Trace

MODEL = StepModel(fixed_s=0.01, dense=line(1e-4), decode_kv=Curve((0.0,), (1e-6,)))
SERVER = Server(step=MODEL, limits=Limits(kv_blocks=400, block_tokens=64, max_batched_tokens=1024, max_seqs=32))


def played(trace: Trace, policy: str = "roadbed", samples: bool = False, **values: object) -> Outcomes:
    scaling = Scaling(**{"autoscaler": "roadbed", "target": 4.0, "cold_start_s": 20.0, **values})  # type: ignore[arg-type]
    asked = Settings(policy=policy, max_wait_s=600.0, samples=samples)
    world = World(trace, [SERVER], asked, scaling)
    outcomes = world.run()
    assert world.core.num_live == world.core.num_waiting == 0
    return outcomes


class Bench:
    """A scaler with its world played by hand."""

    def __init__(self, scaling: Scaling) -> None:
        self.kernel = Kernel()
        self.load = (0, 0)
        self.said: list[tuple[float, str]] = []
        self.scaler = Scaler(
            scaling, self.kernel, cost_per_hour=0.0, grow=lambda: self._say("grow"),
            shrink=lambda: self._say("shrink"), load=lambda: self.load,
        )  # fmt: skip
        self.scaler.begin()

    def _say(self, what: str) -> None:
        self.said.append((self.kernel.now, what))


def test_paid_from_the_decision_until_gone() -> None:
    bench = Bench(Scaling(autoscaler="apa", num_min=1, num_max=8, target=4.0, cold_start_s=30.0, interval_s=10.0))
    bench.load = (8, 0)
    bench.kernel.run(10.0)
    assert (bench.scaler.num_ready, bench.scaler.num_starting) == (1, 1)
    bench.kernel.run(41.0)
    assert bench.said == [(40.0, "grow")]
    bench.load = (1, 0)
    bench.kernel.run(60.0)
    assert bench.said[-1] == (50.0, "shrink")
    assert bench.scaler.num_draining == 1
    bench.kernel.run(64.0)
    bench.scaler.left()
    bench.kernel.run(70.0)
    bench.scaler.close()
    assert bench.scaler.tally.replica_s == pytest.approx(70.0 + (64.0 - 10.0))
    assert (bench.scaler.tally.num_up, bench.scaler.tally.num_down, bench.scaler.tally.peak) == (1, 1, 2)
    bench.kernel.run(1000.0)
    assert bench.scaler.tally.replica_s == pytest.approx(124.0)


def test_who_starts_goes_first() -> None:
    bench = Bench(Scaling(autoscaler="apa", num_min=1, num_max=8, target=4.0, cold_start_s=300.0, interval_s=10.0))
    bench.load = (16, 0)
    bench.kernel.run(20.0)
    assert bench.scaler.num_starting == 3
    bench.load = (4, 0)
    bench.kernel.run(400.0)
    assert bench.said == []
    assert (bench.scaler.num_ready, bench.scaler.num_starting) == (1, 0)


def test_the_first_decision_may_be_later() -> None:
    scaling = Scaling(autoscaler="apa", num_max=8, target=4.0, cold_start_s=0.0, interval_s=10.0, first_s=60.0)
    bench = Bench(scaling)
    bench.load = (16, 0)
    bench.kernel.run(75.0)
    assert bench.said[0] == (60.0, "grow")
    assert bench.scaler.num_ready == 4  # at 60 s two, at 70 s four


def test_who_waits_at_zero_is_decided_about_at_once() -> None:
    scaling = Scaling(autoscaler="roadbed", num_start=0, target=4.0, cold_start_s=5.0, interval_s=60.0)
    bench = Bench(scaling)
    bench.kernel.run(1.5)
    bench.load = (0, 1)
    bench.kernel.run(8.0)
    assert bench.said == [(7.0, "grow")]


def test_the_load_is_the_mean_of_the_interval() -> None:
    bench = Bench(Scaling(autoscaler="apa", num_min=1, num_max=8, target=4.0, cold_start_s=0.0, interval_s=10.0))
    bench.load = (8, 0)
    bench.kernel.run(5.0)
    bench.load = (0, 0)
    bench.kernel.run(10.0)
    assert bench.said == []  # five looks of 8 and five of 0 are 4, the target


@pytest.mark.parametrize("autoscaler", sorted(AUTOSCALERS))
def test_every_autoscaler_serves_everyone(autoscaler: str) -> None:
    trace = generate(Recipe(rate=2.0, seconds=400.0, prompt=600, output=60, swing=0.9))
    outcomes = played(trace, autoscaler=autoscaler, num_min=1, num_max=8)
    assert not outcomes.reasons
    assert outcomes.tally is not None
    assert outcomes.tally.num_up > 0
    assert outcomes.tally.peak <= 8
    ends_s = max(outcomes.end_s)
    assert ends_s <= outcomes.tally.replica_s <= 8 * ends_s
    assert sum(outcomes.busy_s) <= outcomes.tally.replica_s


def test_scaled_to_zero_the_gateway_holds_and_a_replica_wakes() -> None:
    trace = Trace("t")
    for at_s in (0.0, 1000.0, 1000.2):
        trace.add(at_s, 500, 20)
    outcomes = played(trace, num_min=0, num_max=4, idle_s=100.0, samples=True)
    assert not outcomes.reasons
    assert outcomes.ttft_s[0] < 1.0
    assert 20.0 < outcomes.ttft_s[1] < 23.0  # a cold start of 20 s
    assert outcomes.tally is not None
    assert outcomes.tally.num_down >= 1
    assert outcomes.tally.replica_s < 400.0
    assert any(not sample.running for sample in outcomes.samples)


def test_a_fleet_that_may_not_change_is_a_fixed_one() -> None:
    trace = generate(Recipe(rate=3.0, seconds=60.0, prompt=600, output=40))
    fixed = World(trace, [SERVER] * 3, Settings(policy="roadbed", max_wait_s=600.0)).run()
    outcomes = played(trace, num_min=3, num_max=3)
    assert outcomes.e2e_s == fixed.e2e_s
    assert outcomes.slots == fixed.slots
    assert outcomes.tally is not None
    assert outcomes.tally.replica_s == pytest.approx(3 * max(outcomes.end_s))


def test_the_same_run_twice() -> None:
    trace = generate(Recipe(rate=3.0, seconds=120.0, prompt=600, output=40, swing=0.8))
    one, two = (played(trace, num_max=6, cold_start_s=5.0) for _ in range(2))
    assert one.e2e_s == two.e2e_s
    assert one.tally == two.tally


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000), st.sampled_from(sorted(AUTOSCALERS)), st.sampled_from(["roadbed", "round_robin", "dynamo_tuned"]),
    st.sampled_from([0.0, 3.0, 30.0]), st.integers(0, 2),
)  # fmt: skip
def test_nobody_is_lost(seed: int, autoscaler: str, policy: str, cold_start_s: float, num_min: int) -> None:
    trace = generate(Recipe(rate=2.0, seconds=60.0, prompt=500, output=40, swing=1.0, turns=2.0, seed=float(seed)))
    outcomes = played(
        trace, policy, autoscaler=autoscaler, num_min=num_min, num_max=4, cold_start_s=cold_start_s, interval_s=2.0,
        target=2.0, idle_s=5.0,
    )  # fmt: skip
    ended = sum(1 for value in outcomes.e2e_s if not math.isnan(value))
    assert ended + sum(outcomes.reasons.values()) == len(trace)
    assert outcomes.tally is not None
    assert outcomes.tally.peak <= 4
    assert outcomes.tally.replica_s >= num_min * max(outcomes.end_s) - 1e-6


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"autoscaler": "keda"}, "autoscale"),
        ({"num_max": 0}, "max"),
        ({"num_min": 5, "num_max": 4}, "min"),
        ({"num_min": -1}, "min"),
        ({"num_start": 17}, "start"),
        ({"target": 0.0}, "target"),
        ({"target": math.nan}, "target"),
        ({"target": -2.0}, "target"),
        ({"cold_start_s": -1.0}, "cold-start"),
        ({"interval_s": 0.0}, "scale-interval"),
        ({"interval_s": 0.5}, "scale-interval"),
        ({"idle_s": -1.0}, "idle"),
        ({"first_s": -1.0}, "start"),
    ],
)
def test_what_can_not_be_is_named(values: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError) as caught:
        Scaling(**{"autoscaler": "roadbed", **values})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.hint == "roadbed twin serve --help"


def test_a_world_begins_with_min_but_at_least_one() -> None:
    assert Scaling(autoscaler="hpa").num_begin == 1
    assert Scaling(autoscaler="hpa", num_min=3).num_begin == 3
    assert Scaling(autoscaler="hpa", num_start=0).num_begin == 0
