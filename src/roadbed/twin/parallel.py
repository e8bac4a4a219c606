"""Many runs over all cores: processes, because a run is pure Python and numpy on one core.

Workers are spawned, not forked: a fork copies whatever threads held, a spawned one starts clean and costs a third of a
second, once. What all runs need (nodes, pods, jobs) is sent once per worker and not once per run. Results come back in
the order of the runs, whatever order they ended in; one core, one run or one worker means no process at all.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from roadbed.errors import RuntimeFailure

Run = TypeVar("Run")
Result = TypeVar("Result")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TOLD_EVERY_S = 1.0

_context: dict[str, Any] = {}
"""What a worker was sent when it started; written once, before its first run."""


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    work: Callable[[Mapping[str, Any], Run], Result],
    shared: Mapping[str, Any],
    runs: Sequence[Run],
    *,
    num_workers: int = 0,
    told: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """work(shared, run) of every run, in order. told(done, of): after each, and about every second.

    work must be a module's function, shared and runs picklable. num_workers 0: one per core. What work raises is
    raised here, the rest is cancelled; RuntimeFailure when a worker dies.
    """
    workers = min(num_workers or num_cores(), len(runs))
    tell = told or _nothing
    tell(0, len(runs))
    if workers <= 1:
        found = []
        for run in runs:
            found.append(work(shared, run))
            tell(len(found), len(runs))
        return found
    spawn = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, spawn, _remember, (dict(shared),)) as pool:
        futures = [pool.submit(_call, work, run) for run in runs]
        try:
            _watch(futures, tell)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RuntimeFailure("a worker died, most likely of memory", hint="roadbed twin --help") from error
        finally:
            for future in futures:
                future.cancel()


def _watch(futures: Sequence[Future[Any]], tell: Callable[[int, int], None]) -> None:
    left = set(futures)
    while left:
        done, left = wait(left, timeout=_TOLD_EVERY_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        tell(len(futures) - len(left), len(futures))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers inherit one BLAS thread each: as many of them as there are cores would otherwise fight for them."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remember(shared: dict[str, Any]) -> None:
    _context.update(shared)


def _call(work: Callable[[Mapping[str, Any], Run], Result], run: Run) -> Result:
    return work(_context, run)


def _nothing(done: int, of: int) -> None:
    return None
