import logging
import os
import threading
import time
from pathlib import Path

import pytest

from roadbed.errors import RuntimeFailure
from roadbed.gateway.ledger.reader import LedgerReader
from roadbed.gateway.ledger.segment import SegmentName, SegmentWriter, parse_name
from roadbed.gateway.ledger.writer import Ledger
from tests.gateway.ledger.records import begin, end


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if parse_name(path.name))


def test_records_are_readable_at_once_and_the_end_is_closed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0)
    ledger.begin(begin("a"))
    ledger.end(end("a"))
    reader = LedgerReader(tmp_path)
    batch = reader.poll()
    assert [row.request_id for row in batch.rows] == ["a"]
    assert batch.finished == []
    ledger.flush()
    ledger.close()
    ledger.close()
    assert reader.poll().finished == list(batch.cursors)
    assert not any(thread.name == "ledger-w0" for thread in threading.enumerate())
    reader.close()


def test_many_segments_are_one_stream(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0, segment_bytes=4096, sync_interval_s=0.001)
    for index in range(500):
        ledger.begin(begin(f"q{index}"))
        ledger.end(end(f"q{index}"))
    assert len(segments(tmp_path)) > 10
    assert ledger.num_records == 1000
    ledger.close()
    reader = LedgerReader(tmp_path)
    batch = reader.poll()
    assert [row.request_id for row in batch.rows] == [f"q{index}" for index in range(500)]
    assert len(batch.finished) == 1
    reader.commit(batch)
    assert list(tmp_path.iterdir()) == []
    reader.close()


def test_the_next_segment_is_ready_before_it_is_needed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0, segment_bytes=65_536, sync_interval_s=0.01)
    while ledger._segment.at <= 40_000:
        ledger.begin(begin("a" * 100))
    deadline = time.monotonic() + 10
    while ledger._standby is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert ledger._standby is not None
    assert len(segments(tmp_path)) == 1
    ledger.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    (tmp_path / ".w0-1-abc-000002.seg.new").write_bytes(b"")
    (tmp_path / ".w1-1-abc-000002.seg.new").write_bytes(b"")
    living = SegmentWriter(tmp_path, SegmentName("w0-2-abd", 2), 4096)
    Ledger(tmp_path, 0).close()
    drafts = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("."))
    assert drafts == [".w0-2-abd-000002.seg.new", ".w1-1-abc-000002.seg.new"]
    living.close()


def _fill(ledger: Ledger, num: int) -> None:
    for index in range(num):
        ledger.begin(begin(f"q{index}"))


def test_a_full_disk_stops_requests_not_records(tmp_path: Path, monkeypatch, caplog) -> None:
    ledger = Ledger(tmp_path, 0, segment_bytes=4096, sync_interval_s=0.001)

    def no_space(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    caplog.set_level(logging.ERROR)
    with pytest.raises(RuntimeFailure, match="No space left"):
        _fill(ledger, 1000)
    num = ledger.num_records
    monkeypatch.undo()
    ledger.begin(begin("after"))
    ledger.close()
    reader = LedgerReader(tmp_path)
    assert len(reader.poll().rows) == num + 1
    reader.close()


def test_a_record_too_large_for_any_segment_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0, segment_bytes=4096)
    with pytest.raises(RuntimeFailure, match="does not fit"):
        ledger.begin(begin("x" * 5000))
    ledger.begin(begin("small"))
    ledger.close()


def test_a_disk_that_cannot_sync_is_reported(tmp_path: Path, monkeypatch, caplog) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    ledger = Ledger(tmp_path, 0, sync_interval_s=60.0)
    ledger.begin(begin("a"))
    monkeypatch.setattr(os, "fdatasync", broken)
    ledger.flush()
    assert "could not be made durable" in caplog.text
    ledger.close()
