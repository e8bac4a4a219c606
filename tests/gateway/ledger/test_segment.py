import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import RuntimeFailure
from roadbed.gateway.ledger.segment import (
    CLOSED,
    SEALED,
    SegmentName,
    SegmentReader,
    SegmentWriter,
    parse_name,
    record_bytes,
)

NAME = SegmentName("w0-1-abc", 1)


def write(folder: Path, payloads: list[bytes], *, size: int = 65_536, mark: int | None = None) -> Path:
    writer = SegmentWriter(folder, NAME, size)
    writer.publish()
    for payload in payloads:
        assert writer.append(payload)
    if mark is not None:
        writer.seal(mark)
    writer.close()
    return writer.path


def read(path: Path, *, alive: bool = False) -> tuple[list[bytes], str]:
    reader = SegmentReader(path)
    payloads = []
    while isinstance(found := reader.read(alive=alive), bytes):
        payloads.append(found)
    reader.close()
    return payloads, found


def test_names_round_trip_and_strangers_are_ignored() -> None:
    name = SegmentName("w3-4711-18c2f", 12)
    assert parse_name(name.filename) == name
    for stranger in (".w0-1-abc-000001.seg.new", "w0-1-000001.seg", "notes.txt", "w0-1-abc-000001.seg.bad"):
        assert parse_name(stranger) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30), st.sampled_from([None, SEALED, CLOSED]))
def test_what_is_appended_is_read(tmp_path_factory, payloads: list[bytes], mark: int | None) -> None:
    path = write(tmp_path_factory.mktemp("seg"), payloads, mark=mark)
    assert read(path) == (payloads, {None: "open", SEALED: "sealed", CLOSED: "closed"}[mark])


def test_readers_follow_a_living_writer(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, NAME, 4096)
    assert list(tmp_path.glob("*.seg")) == []
    writer.publish()
    reader = SegmentReader(writer.path)
    assert reader.writer_alive()
    assert reader.read(alive=True) == "open"
    writer.append(b"one")
    assert reader.read(alive=True) == b"one"
    assert reader.read(alive=True) == "open"
    writer.close()
    writer.close()
    assert not reader.writer_alive()
    reader.close()


def test_a_full_segment_says_so_and_still_takes_its_end_mark(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, NAME, 4096)
    writer.publish()
    num = 0
    while writer.append(b"x" * 100):
        num += 1
    writer.seal(SEALED)
    writer.close()
    payloads, ended = read(writer.path)
    assert (len(payloads), ended) == (num, "sealed")
    assert num == (4096 - 32 - 8) // record_bytes(100)


def test_an_unpublished_draft_leaves_nothing(tmp_path: Path) -> None:
    SegmentWriter(tmp_path, NAME, 4096).close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_with_a_hint(tmp_path: Path, monkeypatch) -> None:
    def no_space(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    with pytest.raises(RuntimeFailure, match="No space left"):
        SegmentWriter(tmp_path, NAME, 4096)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_segment_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"short", b"\0" * 4096):
        (tmp_path / "x.seg").write_bytes(content)
        with pytest.raises(RuntimeFailure, match="not a usage segment"):
            SegmentReader(tmp_path / "x.seg")


def test_a_half_written_record_of_a_living_writer_is_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, [b"whole", b"torn!"])
    data = bytearray(path.read_bytes())
    data[32 + record_bytes(5) + 8] ^= 0xFF
    path.write_bytes(data)
    assert read(path, alive=True) == ([b"whole"], "open")
    assert read(path, alive=False) == ([b"whole"], "torn")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), min_size=3, max_size=20), st.data())
def test_damage_costs_only_the_records_it_touches(tmp_path_factory, payloads: list[bytes], data) -> None:
    path = write(tmp_path_factory.mktemp("seg"), payloads, mark=CLOSED, size=8192)
    victim = data.draw(st.integers(0, len(payloads) - 1))
    start = 32 + sum(record_bytes(len(payload)) for payload in payloads[:victim])
    at = start + data.draw(st.integers(0, 7 + len(payloads[victim])))
    content = bytearray(path.read_bytes())
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    kept, ended = read(path)
    assert ended in ("closed", "open")
    if ended == "open":  # the damaged length became zero: indistinguishable from the end of a killed writer
        assert kept == payloads[:victim]
    else:
        assert kept == payloads[:victim] + payloads[victim + 1 :]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=600))
def test_rubble_never_breaks_the_reader(tmp_path_factory, rubble: bytes) -> None:
    path = write(tmp_path_factory.mktemp("seg"), [b"good"], size=1024)
    content = bytearray(path.read_bytes())
    content[32 + record_bytes(4) : 32 + record_bytes(4) + len(rubble)] = rubble
    path.write_bytes(content)
    payloads, ended = read(path)
    assert payloads[0] == b"good"
    assert ended in ("open", "sealed", "closed", "torn")
