"""Lending shortens the queue, costs the service nothing, and a static partition really is one."""

from pathlib import Path

import pytest

from roadbed.twin.loans import run_loans
from roadbed.twin.scenario import Settings, sized
from roadbed.twin.service import ServiceSpec, read_curve
from roadbed.twin.trace import TraceJob

CURVE = read_curve(Path(__file__).parents[1] / "data" / "genai_qps.csv")


def training(num: int = 60) -> list[TraceJob]:
    return [
        TraceJob(
            id=f"t{at:03d}", submit_s=at * 900.0, duration_s=3600.0 * (1 + at % 3), num_devices=4, quota="ab"[at % 2]
        )
        for at in range(num)
    ]


def test_lending_helps_training_and_does_not_hurt_the_service() -> None:
    jobs = training()
    own = len(sized(jobs, 1.5, 8))
    nodes = sized(jobs, 1.5, 8, num_extra=own)
    spec = ServiceSpec(peak=own * 8)
    rows = {
        name: run_loans(jobs, nodes, CURVE, spec, name, 1, Settings(checkpoint_s=600.0), pictures=True)
        for name in ("static", "loans")
    }
    static, loans = rows["static"], rows["loans"]
    assert static.figures.num_jobs == loans.figures.num_jobs == len(jobs)
    assert loans.figures.queue_s.mean < static.figures.queue_s.mean / 1.5
    assert loans.figures.jct_s.mean < static.figures.jct_s.mean
    assert static.num_returns == 0
    assert loans.violations <= static.violations + 0.002
    assert loans.curve
    assert static.figures.allocation * len(nodes) <= own + 1e-6


def test_unknown_arrangements() -> None:
    with pytest.raises(ValueError, match="neither of static, loans"):
        run_loans([], [], CURVE, ServiceSpec(peak=1), "both", 1, Settings())
