"""Same results in the same order, with processes and without; errors come back, nothing is left running."""

import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

import pytest

from roadbed.errors import RuntimeFailure, UsageError
from roadbed.twin.parallel import num_cores, run_all


def work(shared: Mapping[str, Any], run: int) -> tuple[int, int]:
    if run == shared.get("bad"):
        raise UsageError(f"run {run} makes no sense", hint="roadbed twin")
    if run == shared.get("deadly"):
        os._exit(3)
    return run * shared["factor"], os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_order(workers: int) -> None:
    told: list[tuple[int, int]] = []
    found = run_all(work, {"factor": 3}, range(6), num_workers=workers, told=lambda done, of: told.append((done, of)))
    assert [value for value, _ in found] == [0, 3, 6, 9, 12, 15]
    assert (os.getpid() in {pid for _, pid in found}) == (workers == 1)
    assert told[0] == (0, 6)
    assert told[-1] == (6, 6)
    assert told == sorted(told)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_run_raises_is_raised_here(workers: int) -> None:
    with pytest.raises(UsageError, match="run 2 makes no sense") as raised:
        run_all(work, {"factor": 1, "bad": 2}, range(4), num_workers=workers)
    assert raised.value.hint == "roadbed twin"
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_said() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    with pytest.raises(RuntimeFailure, match="a worker died"):
        run_all(work, {"factor": 1, "deadly": 0}, range(3), num_workers=2)
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_nothing_to_do() -> None:
    assert run_all(work, {}, []) == []
    assert num_cores() >= 1
