"""Traces of three kinds are read whole; what is wrong in them is said with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import RoadbedError, SpecError, UsageError
from roadbed.scheduler.accounts import QuotaTree
from roadbed.scheduler.base import Job
from roadbed.scheduler.pool import check_job
from roadbed.scheduler.quota import Quota
from roadbed.scheduler.state import State
from roadbed.spec.inventory import NodeInfo
from roadbed.twin.trace import TraceJob, largest_part, read_trace, to_job, window

DATA = Path(__file__).parents[1] / "data"
GENERIC = "submit_s,duration_s,num_devices"


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_philly_as_published() -> None:
    jobs = read_trace(DATA / "philly.csv")
    assert len(jobs) == 400
    assert jobs[0].submit_s == 0
    assert [job.submit_s for job in jobs] == sorted(job.submit_s for job in jobs)
    assert len({job.quota for job in jobs}) > 3
    assert all(job.duration_s > 0 and job.num_devices >= 1 for job in jobs)


def test_openb_as_published() -> None:
    jobs = read_trace(DATA / "openb_pod_list_slice.csv")
    assert len(jobs) == 280
    assert any(job.num_devices == 0 for job in jobs)
    assert any(job.milli < 1000 for job in jobs)
    assert all(job.devices_per_process == job.num_devices for job in jobs)


def test_generic_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    columns = [
        *GENERIC.split(","),
        "id",
        "quota",
        "priority",
        "chips",
        "max_devices",
        "declared_s",
        "checkpoint_s",
        "preemptible",
    ]
    values = [30, 60.5, 16, "b", "q", 7, "H800|H100", 32, 100, 0, "false"]
    csv = written(tmp_path, f"{','.join(columns)}\n{','.join(map(str, values))}\n20,1,1,a,,,,,,,\n")
    lines = [dict(zip(columns, values, strict=True)), {"submit_s": 20, "duration_s": 1, "num_devices": 1, "id": "a"}]
    jsonl = written(tmp_path, "\n".join(json.dumps(line) for line in lines), "t.jsonl")
    first, second = read_trace(csv)
    assert read_trace(jsonl) == [first, second]
    assert (first.id, first.submit_s, first.quota, first.priority, first.checkpoint_s) == ("a", 0, "default", 5, -1)
    assert (second.submit_s, second.duration_s, second.num_devices, second.priority) == (10, 60.5, 16, 7)
    assert (second.chips, second.max_devices, second.preemptible, second.checkpoint_s) == (
        ("H100", "H800"),
        32,
        False,
        0,
    )
    assert second.device_s == 60.5 * 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{GENERIC}\n1,2\n", ":2: 2 cells under 3 columns"),
        (f"{GENERIC}\n1,-2,1\n", ":2: duration_s is -2, below 0"),
        (f"{GENERIC}\n1,2,1.5\n", ":2: num_devices is 1.5, which is no whole number"),
        (f"{GENERIC},priority\n1,2,1,10\n", ":2: priority is 10, above 9"),
        (f"{GENERIC},preemptible\n1,2,1,maybe\n", ":2: preemptible is 'maybe'"),
        (f"{GENERIC},devices_per_process\n1,2,12,8\n", ":2: 12 devices are not whole processes of 8"),
        (f"{GENERIC},id\n1,2,1,a\n2,2,1,a\n", "job 'a' is there twice"),
        (f"{GENERIC}\n", "holds no jobs"),
        ("a,b\n", "neither submit_s, duration_s, num_devices nor philly's"),
        ("timestamp,duration,num_gpus,cluster\nnoon,1,1,a\n", ":2: timestamp is 'noon'"),
        ("timestamp,duration,num_gpus,cluster\n2017-10-09 07:01:55,1,0,a\n", ":2: num_gpus is 0, below 1"),
        (
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\na,1,1,1,1000,5,4\n",
            ":2: deletion_time is 4, before creation_time",
        ),
    ],
)
def test_traces_that_make_no_sense(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_trace(written(tmp_path, text))
    assert words in raised.value.message


CELL = st.sampled_from(["", "0", "1", "8", "-1", "2.5", "1e300", "nan", "2017-10-09 07:01:55", "x", "true"])
HEADERS = st.sampled_from(
    [GENERIC, "timestamp,duration,num_gpus,cluster", GENERIC + ",id,priority,preemptible",
     "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(header=HEADERS, data=st.data())
def test_any_cells_are_jobs_or_our_error(tmp_path: Path, header: str, data: st.DataObject) -> None:
    num = header.count(",") + 1
    rows = data.draw(st.lists(st.lists(CELL, min_size=num, max_size=num), max_size=3))
    path = written(tmp_path, "\n".join([header, *(",".join(row) for row in rows)]))
    try:
        jobs = read_trace(path)
    except RoadbedError as error:
        assert str(path) in error.message
        return
    for job in jobs:
        assert to_job(job, 8, 60.0).gang.num >= 1


def test_windows_begin_at_zero() -> None:
    day = 86_400.0
    jobs = [TraceJob(id=str(at), submit_s=at * day, duration_s=1, num_devices=1) for at in range(5)]
    found = window(jobs, 1, 2)
    assert [(job.id, job.submit_s) for job in found] == [("1", 0), ("2", day)]
    assert len(window(jobs, 0, 0)) == 5
    with pytest.raises(UsageError, match=r"after day 9; the trace ends on day 4\.0"):
        window(jobs, 9, 1)


@pytest.mark.parametrize(("num", "most", "part"), [(24, 8, 8), (12, 8, 6), (13, 8, 1), (4, 8, 4), (0, 8, 0), (4, 0, 0)])
def test_parts(num: int, most: int, part: int) -> None:
    assert largest_part(num, most) == part


def check(job: Job) -> bool:
    """Would the scheduler take it?"""
    node = NodeInfo(name="n", cpu_milli=9, memory_mib=9, chip="T4", num_devices=16)
    state = State([node])
    check_job(job, state, QuotaTree([Quota(name="q"), Quota(name="default")], {"gpu": 16_000, "cpu": 9}))
    return True


def test_jobs_as_gangs() -> None:
    job = TraceJob(id="a", submit_s=1, duration_s=9, num_devices=16, max_devices=32, milli=1000, quota="q", priority=3)
    gang = to_job(job, 8, 60.0).gang
    assert (gang.shape.num_devices, gang.num, gang.max_num) == (8, 2, 4)
    asked = to_job(job, 8, 60.0)
    assert (asked.checkpoint_s, asked.duration_s, asked.quota, asked.priority, asked.submit_s) == (60.0, 0.0, "q", 3, 1)
    assert check(asked)
    none = to_job(TraceJob(id="c", submit_s=0, duration_s=1, num_devices=0, cpu_milli=5), 8, 0)
    assert check(none)
    assert (none.gang.num, none.gang.shape.num_devices, none.gang.shape.cpu_milli) == (1, 0, 5)
