"""The traffic log: bounded, private, and never in the way."""

import json
import logging
from pathlib import Path

import pytest

from roadbed.gateway.traffic import TrafficLog
from roadbed.router.traffic import Seen


def seen(at: float, **more) -> Seen:
    return Seen(
        at=at, service="chat", model="m", prompt_tokens=10, cached_tokens=0, output_tokens=5, block_tokens=512.0,
        blocks=[1, 2], **more,
    )  # fmt: skip


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_written_when_flushed(tmp_path: Path) -> None:
    traffic = TrafficLog(tmp_path / "traffic", 2, 1 << 20)
    traffic.add(seen(1.0, session=7))
    assert not (tmp_path / "traffic").exists()
    traffic.flush()
    got = lines(tmp_path / "traffic" / "gateway-2.jsonl")
    assert got[0]["session"] == 7
    assert got[0]["blocks"] == [1, 2]
    traffic.add(seen(2.0))
    traffic.close()
    assert [one["at"] for one in lines(tmp_path / "traffic" / "gateway-2.jsonl")] == [1.0, 2.0]
    assert (tmp_path / "traffic").stat().st_mode & 0o077 == 0


def test_two_files_stay_below_the_limit_and_hold_the_latest(tmp_path: Path) -> None:
    traffic = TrafficLog(tmp_path, 0, 4000)
    for at in range(200):
        traffic.add(seen(float(at)))
        traffic.flush()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    kept = [one["at"] for name in ("gateway-0.1.jsonl", "gateway-0.jsonl") for one in lines(tmp_path / name)]
    assert kept == [float(at) for at in range(200 - len(kept), 200)]


def test_it_goes_on_where_another_worker_stopped(tmp_path: Path) -> None:
    for at in (1.0, 2.0):
        traffic = TrafficLog(tmp_path, 0, 1 << 20)
        traffic.add(seen(at))
        traffic.close()
    assert [one["at"] for one in lines(tmp_path / "gateway-0.jsonl")] == [1.0, 2.0]


def test_off_is_off_and_may_be_switched(tmp_path: Path) -> None:
    traffic = TrafficLog(tmp_path, 0, 0)
    assert not traffic.on
    traffic.resize(1000)
    assert traffic.on


def test_a_disk_that_cannot_be_written_costs_lines_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "traffic").write_text("a file where the folder should be")
    traffic = TrafficLog(tmp_path / "traffic", 0, 1 << 20)
    with caplog.at_level(logging.WARNING):
        for at in range(3):
            traffic.add(seen(float(at)))
            traffic.flush()
    assert len(caplog.records) == 1
