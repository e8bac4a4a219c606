"""A real slice under every policy: the same every time, everything done, and the order of policies one would expect."""

from pathlib import Path

import msgspec
import pytest

from roadbed.errors import UsageError
from roadbed.twin.metrics import Figures
from roadbed.twin.queueing import QUEUEING_NAMES
from roadbed.twin.scenario import NUM_BINS, Settings, drawn, run_jobs, sized
from roadbed.twin.trace import TraceJob, read_trace

JOBS = read_trace(Path(__file__).parents[1] / "data" / "philly.csv")
SETTINGS = Settings()


def plain(found: Figures) -> object:
    return msgspec.to_builtins(found)


def test_machines_to_a_load() -> None:
    nodes = sized(JOBS, 0.9, 8)
    work, over_s = sum(job.device_s for job in JOBS), JOBS[-1].submit_s
    assert len(nodes) * 8 * 0.9 * over_s >= work > (len(nodes) - 1) * 8 * 0.9 * over_s
    assert len(sized(JOBS, 0.9, 8, num_extra=3)) == len(nodes) + 3
    giant = TraceJob(id="g", submit_s=0, duration_s=0.1, num_devices=64)
    assert len(sized([giant], 0.9, 8)) == 8
    for wrong in (0.0, float("nan"), -1.0):
        with pytest.raises(UsageError):
            sized(JOBS, wrong, 8)


def test_machines_are_of_a_kind_every_job_takes() -> None:
    jobs = [
        TraceJob(id=str(at), submit_s=at, duration_s=9, num_devices=1, chips=chips)
        for at, chips in enumerate([("T4",), ("A100", "T4"), ()])
    ]
    assert {node.chip for node in sized(jobs, 1.0, 4)} == {"T4"}
    with pytest.raises(UsageError, match="suits all jobs"):
        sized([*jobs, msgspec.structs.replace(jobs[0], chips=("A100",))], 1.0, 4)


def test_samples_are_drawn_by_seed() -> None:
    half = drawn(JOBS, 0.5, 1)
    assert half == drawn(JOBS, 0.5, 1)
    assert half != drawn(JOBS, 0.5, 2)
    assert 150 < len(half) < 250
    assert drawn(JOBS, 1.0, 1) == JOBS
    with pytest.raises(UsageError, match="is empty"):
        drawn(JOBS[:1], 0.001, 1)


@pytest.mark.parametrize("policy", [*QUEUEING_NAMES, "easy/kube_tas"])
def test_every_policy_finishes_all_work(policy: str) -> None:
    nodes = sized(JOBS, 1.5, 8)
    row = run_jobs(JOBS, nodes, policy, 1, SETTINGS, pictures=True)
    found = row.figures
    assert (found.num_jobs, found.num_refused) == (len(JOBS), 0)
    assert 0 < found.utilisation <= found.allocation <= 1
    assert 0 < found.goodput <= 1
    assert plain(run_jobs(JOBS, nodes, policy, 1, SETTINGS).figures) == plain(found)
    assert row.pictures is not None
    assert len(row.pictures.waiting) == NUM_BINS
    assert len(row.pictures.nodes) == len(nodes)
    used = sum(sum(values) for values in row.pictures.used.values()) / NUM_BINS
    assert used / row.pictures.capacity == pytest.approx(found.allocation, rel=0.01)


def test_backfill_and_quotas_beat_one_line() -> None:
    nodes = sized(JOBS, 1.5, 8)
    queue = {
        name: run_jobs(JOBS, nodes, name, 1, SETTINGS).figures.queue_s.mean for name in ("fifo", "easy", "roadbed")
    }
    assert min(queue["easy"], queue["roadbed"]) < queue["fifo"]


def test_failing_nodes_cost_work_and_checkpoints_save_it() -> None:
    jobs = [TraceJob(id=f"j{at:02d}", submit_s=600.0 * at, duration_s=7200.0, num_devices=4) for at in range(60)]
    nodes = sized(jobs, 0.7, 8)
    often = msgspec.structs.replace(SETTINGS, node_mtbf_h=8.0, repair_h=0.5)
    saved = run_jobs(jobs, nodes, "easy", 1, msgspec.structs.replace(often, checkpoint_s=60.0)).figures
    unsaved = run_jobs(jobs, nodes, "easy", 1, msgspec.structs.replace(often, checkpoint_s=0.0)).figures
    assert saved.num_preemptions > 0
    assert saved.lost_device_h < unsaved.lost_device_h
    assert unsaved.goodput < saved.goodput <= 1
    assert saved.num_jobs == unsaved.num_jobs == len(jobs)
