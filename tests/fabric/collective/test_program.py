"""Jobs that loop, against prices of the same operation."""

import pytest

from roadbed.errors import UsageError
from roadbed.fabric.base import Health
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.chooser import traffic_of
from roadbed.fabric.collective.program import TrainingLoop
from roadbed.fabric.collective.run import Job, PathOptions, goodput, prepare, price
from roadbed.fabric.flows import simulate
from tests.fabric.collective.net import family, flat

SIZE = 1e9


def job(fabric, gpus, op="allreduce", algorithm="ring"):
    ranks = ranks_of(fabric, gpus)
    return Job(op, ranks, traffic_of(fabric, op, ranks, algorithm))


def test_a_job_alone_takes_its_price_each_round():
    fabric = family("dcn_plus", 192)
    one = job(fabric, range(0, 192, 8))
    options = PathOptions(policy="ecmp", seed=2)
    prepared = prepare(fabric, [one], options)
    loop = TrainingLoop(prepared, 0, size=SIZE, compute_s=0.5, rounds=3)
    simulate(fabric, programs=[loop], capacity=goodput(fabric, Health.of(fabric)))
    priced = price(fabric, [one], options).jobs[0]
    for round_ in loop.rounds:
        expected = 0.5 + priced.latency_s + priced.net_s_per_byte * SIZE
        assert round_.finished_s - round_.begun_s == pytest.approx(expected, rel=1e-6)
    assert len(loop.rounds) == 3


def test_two_jobs_on_the_same_cards_slow_each_other_only_while_they_meet():
    fabric = flat(8)
    jobs = [job(fabric, range(8)), job(fabric, range(8))]
    prepared = prepare(fabric, jobs)
    alone = price(fabric, jobs[:1]).jobs[0]
    one_s = alone.latency_s + alone.net_s_per_byte * SIZE
    apart = [
        TrainingLoop(prepared, 0, size=SIZE, compute_s=0.0, rounds=1),
        TrainingLoop(prepared, 1, size=SIZE, compute_s=10.0, rounds=1),
    ]
    simulate(fabric, programs=apart, capacity=goodput(fabric, Health.of(fabric)))
    assert apart[0].rounds[0].finished_s == pytest.approx(one_s, rel=1e-6)
    assert apart[1].rounds[0].finished_s == pytest.approx(10 + one_s, rel=1e-6)
    together = [TrainingLoop(prepared, at, size=SIZE, compute_s=0.0, rounds=1) for at in (0, 1)]
    simulate(fabric, programs=together, capacity=goodput(fabric, Health.of(fabric)))
    assert together[0].rounds[0].finished_s == pytest.approx(one_s + alone.net_s_per_byte * SIZE, rel=1e-6)


def test_servers_that_copy_slower_than_the_network_cap_the_rate():
    fabric = flat(2, 8)
    one = job(fabric, range(16))
    prepared = prepare(fabric, [one])
    loop = TrainingLoop(prepared, 0, size=SIZE, compute_s=0.0, rounds=1)
    simulate(fabric, programs=[loop], capacity=goodput(fabric, Health.of(fabric)))
    priced = price(fabric, [one]).jobs[0]
    assert priced.kernel_s_per_byte > priced.net_s_per_byte
    assert loop.rounds[0].finished_s == pytest.approx(priced.latency_s + priced.kernel_s_per_byte * SIZE, rel=1e-6)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"compute_s": -1}, {"first_s": -1}])
def test_wrong_loops_are_refused(wrong):
    fabric = flat(2)
    with pytest.raises(UsageError, match="at least 1 byte"):
        TrainingLoop(prepare(fabric, [job(fabric, range(2))]), 0, **{"size": 1.0, "compute_s": 0.0, **wrong})
