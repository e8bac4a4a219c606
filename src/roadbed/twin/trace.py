"""Traces of jobs: who asked for how many devices, when, and how long it really took.

Three ways they come are told apart by their columns. Times are seconds since the first submission.

    philly    timestamp, duration, num_gpus, cluster            (each virtual cluster is a quota)
    openb     name, num_gpu, gpu_milli, …, creation_time, deletion_time
    generic   submit_s, duration_s, num_devices, as CSV or JSON lines, and if you like: id, quota, priority 1..9, milli,
              chips "A|B", cpu_milli and memory_mib (per process), devices_per_process, max_devices (elastic),
              declared_s, checkpoint_s, preemptible (true/false)

What a job will really take is known to the twin alone; the scheduler is told `declared_s`, or learns.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from roadbed.errors import SpecError, UsageError
from roadbed.scheduler.base import WHOLE, Gang, Job, Shape
from roadbed.twin.table import HINT, Row, header_of, read_csv, read_jsonl

PHILLY = ("timestamp", "duration", "num_gpus", "cluster")
OPENB = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
GENERIC = ("submit_s", "duration_s", "num_devices")
_MAX_DEVICES = 1_000_000
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class TraceJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job as recorded. duration_s: of running, on all its devices. declared_s: what its owner said; 0 = nothing."""

    id: str
    submit_s: float
    duration_s: float
    num_devices: int
    quota: str = "default"
    priority: int = 5
    milli: int = WHOLE
    chips: tuple[str, ...] = ()
    cpu_milli: int = 0
    memory_mib: int = 0
    devices_per_process: int = 0
    max_devices: int = 0
    declared_s: float = 0.0
    checkpoint_s: float = -1.0
    """How often it saves; below 0 = as the scenario says."""
    preemptible: bool = True

    @property
    def device_s(self) -> float:
        """Work, in device-seconds."""
        return self.duration_s * self.num_devices * self.milli / WHOLE


def read_trace(path: Path) -> list[TraceJob]:
    """Jobs in order of submission, the first at 0 s. SpecError with the line, NotFoundError, UsageError."""
    columns = header_of(path)
    jobs = list(_reader(path, columns)(path))
    if not jobs:
        raise SpecError(f"{path}: holds no jobs", hint=HINT)
    seen: set[str] = set()
    for job in jobs:
        if job.id in seen:
            raise SpecError(f"{path}: job {job.id!r} is there twice", hint=HINT, field="id")
        seen.add(job.id)
    first_s = min(job.submit_s for job in jobs)
    moved = [msgspec.structs.replace(job, submit_s=job.submit_s - first_s) for job in jobs]
    return sorted(moved, key=_submit)


def window(jobs: Sequence[TraceJob], from_day: float, days: float) -> list[TraceJob]:
    """The jobs submitted in so many days (0 = all) after from_day, the first at 0 s. UsageError where none were."""
    begin_s = from_day * 86_400
    end_s = begin_s + days * 86_400 if days else math.inf
    found = [job for job in jobs if begin_s <= job.submit_s < end_s]
    if not found:
        last = jobs[-1].submit_s / 86_400
        words = f"no job was submitted in {days:g} days after day {from_day:g}; the trace ends on day {last:.1f}"
        raise UsageError(words, hint="roadbed twin jobs --help", field="days")
    first_s = found[0].submit_s
    return [msgspec.structs.replace(job, submit_s=job.submit_s - first_s) for job in found]


def to_job(job: TraceJob, per_node: int, checkpoint_s: float) -> Job:
    """The job as it is submitted to the scheduler. per_node: devices of the largest node, which no process exceeds.

    Without devices_per_process the processes are as large as an even split over nodes of that size allows.
    """
    each = job.devices_per_process or largest_part(job.num_devices, per_node)
    num = max(1, job.num_devices // each) if each else 1
    shape = Shape(
        num_devices=each,
        milli=job.milli if each else WHOLE,
        cpu_milli=job.cpu_milli,
        memory_mib=job.memory_mib,
        chips=job.chips,
    )
    most = job.max_devices // each if each and job.max_devices > job.num_devices else 0
    return Job(
        id=job.id,
        gang=Gang(shape=shape, num=num, max_num=most),
        quota=job.quota,
        priority=job.priority,
        submit_s=job.submit_s,
        preemptible=job.preemptible,
        duration_s=job.declared_s,
        checkpoint_s=checkpoint_s if job.checkpoint_s < 0 else job.checkpoint_s,
    )


def largest_part(num: int, most: int) -> int:
    """The largest divisor of num that is at most `most`: 24 on nodes of 8 → 8, 12 → 6, 13 → 1. 0 for none."""
    if num <= 0 or most <= 0:
        return 0
    return next(part for part in range(min(num, most), 0, -1) if num % part == 0)


def _reader(path: Path, columns: list[str]) -> Callable[[Path], Iterator[TraceJob]]:
    if not columns or set(GENERIC) <= set(columns):
        return _generic
    if set(PHILLY) <= set(columns):
        return _philly
    if set(OPENB) <= set(columns):
        return _openb
    there = ", ".join(columns[:12])
    words = f"neither {', '.join(GENERIC)} nor philly's ({', '.join(PHILLY)}) nor openb's columns; there is {there}"
    raise SpecError(f"{path}:1: {words}", hint=HINT)


def _philly(path: Path) -> Iterator[TraceJob]:
    for at, row in enumerate(read_csv(path, PHILLY)):
        if not any(row.has(name) for name in PHILLY):
            continue  # the published file ends in an empty record
        text = row.text("timestamp")
        try:
            submit = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError as error:
            raise row.error(f"timestamp is {text[:40]!r}, not 2017-10-09 07:01:55", "timestamp") from error
        yield TraceJob(
            id=f"job-{at:06d}",
            submit_s=submit.timestamp(),
            duration_s=row.number("duration"),
            num_devices=row.integer("num_gpus", least=1, most=_MAX_DEVICES),
            quota=row.text("cluster", "default"),
        )


def _openb(path: Path) -> Iterator[TraceJob]:
    for row in read_csv(path, OPENB):
        created, deleted = row.number("creation_time"), row.number("deletion_time")
        if deleted < created:
            raise row.error(f"deletion_time is {deleted:g}, before creation_time", "deletion_time")
        num = row.integer("num_gpu", most=1024)
        yield TraceJob(
            id=row.text("name") or f"line-{row.line}",
            submit_s=created,
            duration_s=deleted - created,
            num_devices=num,
            milli=row.integer("gpu_milli", least=1, most=WHOLE) if num else WHOLE,
            chips=_chips(row, "gpu_spec"),
            cpu_milli=row.integer("cpu_milli"),
            memory_mib=row.integer("memory_mib"),
            devices_per_process=num,
        )


def _generic(path: Path) -> Iterator[TraceJob]:
    read = read_jsonl if not header_of(path) else read_csv
    for row in read(path, GENERIC):
        num, each = row.integer("num_devices", most=_MAX_DEVICES), row.integer("devices_per_process", 0, most=1024)
        if each and num % each:
            raise row.error(f"{num} devices are not whole processes of {each}", "devices_per_process")
        preemptible = row.text("preemptible", "true").lower()
        if preemptible not in _BOOLEANS:
            raise row.error(f"preemptible is {preemptible[:40]!r}, neither true nor false", "preemptible")
        yield TraceJob(
            id=row.text("id") or f"line-{row.line}",
            submit_s=row.number("submit_s", least=-math.inf),
            duration_s=row.number("duration_s"),
            num_devices=num,
            quota=row.text("quota", "default"),
            priority=row.integer("priority", 5, least=1, most=9),
            milli=row.integer("milli", WHOLE, least=1, most=WHOLE),
            chips=_chips(row, "chips"),
            cpu_milli=row.integer("cpu_milli", 0),
            memory_mib=row.integer("memory_mib", 0),
            devices_per_process=each,
            max_devices=row.integer("max_devices", 0, most=_MAX_DEVICES),
            declared_s=row.number("declared_s", 0.0),
            checkpoint_s=row.number("checkpoint_s", -1.0, least=-1.0),
            preemptible=_BOOLEANS[preemptible],
        )


def _chips(row: Row, column: str) -> tuple[str, ...]:
    return tuple(sorted({chip for chip in row.text(column).split("|") if chip}))


def _submit(job: TraceJob) -> tuple[float, str]:
    return job.submit_s, job.id
