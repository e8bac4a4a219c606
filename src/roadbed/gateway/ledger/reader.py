"""Turns segments into settled usage, each request exactly once, across any crash of writers or of this reader.

    poll() ──▶ Batch(rows, cursors) ──▶ store both in one transaction ──▶ commit(batch) deletes what is done

A cursor never moves past the oldest request still open, so nothing needs to be remembered between processes: a reader
that starts again re-reads from there and may yield rows the store already has, which the store ignores by request id.
The trade-off is that one long request makes a restart re-read what came after it; reading is ≈5 µs a record.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from roadbed.errors import RuntimeFailure
from roadbed.gateway.ledger.record import Begin, End, UsageRow, settle, settle_lost
from roadbed.gateway.ledger.segment import FIRST_RECORD, SegmentName, SegmentReader, parse_name

log = logging.getLogger(__name__)

_decode = msgspec.msgpack.Decoder(Begin | End).decode


class Cursor(NamedTuple):
    """Where to read a stream from."""

    sequence: int
    offset: int


class Batch(msgspec.Struct, kw_only=True):
    """What one poll found. Rows and cursors belong into one transaction."""

    rows: list[UsageRow]
    cursors: dict[str, Cursor]
    """By stream, for every stream that goes on."""
    finished: list[str]
    """Streams read to their end; their cursors may be deleted in the same transaction."""


class LedgerReader:
    """The reading end; one at a time may commit (several may only poll)."""

    def __init__(self, folder: Path, cursors: Mapping[str, tuple[int, int]] | None = None) -> None:
        """`cursors` as stored with the last committed batch; none = from the beginning."""
        self._folder = folder
        self._cursors = {stream: Cursor(*cursor) for stream, cursor in (cursors or {}).items()}
        self._streams: dict[str, _Stream] = {}
        self._rows: list[UsageRow] = []
        self.num_torn = 0
        """Damaged stretches and files skipped so far."""

    def poll(self, max_rows: int = 10_000) -> Batch:
        """Rows not yet committed, those of earlier uncommitted polls first. Stops reading at about `max_rows`."""
        for name in self._list():
            if name.stream not in self._streams:
                start = self._cursors.get(name.stream, Cursor(0, 0))
                self._streams[name.stream] = _Stream(self._folder, name.stream, max(start, Cursor(name.sequence, 0)))
        for stream in self._streams.values():
            if len(self._rows) >= max_rows:
                break
            self.num_torn += stream.read(self._rows, max_rows)
        going_on = {name: stream.cursor() for name, stream in self._streams.items() if not stream.finished}
        finished = [name for name, stream in self._streams.items() if stream.finished]
        return Batch(rows=list(self._rows), cursors=going_on, finished=finished)

    def commit(self, batch: Batch) -> None:
        """The batch is in the store: segments behind its cursors and finished streams are deleted. Idempotent."""
        done = {row.request_id for row in batch.rows}
        self._rows = [row for row in self._rows if row.request_id not in done]
        for stream in batch.finished:
            known = self._streams.pop(stream, None)
            if known is not None:
                known.close()
        for name in self._list():
            cursor = batch.cursors.get(name.stream)
            if name.stream in batch.finished or (cursor is not None and name.sequence < cursor.sequence):
                (self._folder / name.filename).unlink(missing_ok=True)

    def close(self) -> None:
        """Frees the mappings. Idempotent."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def _list(self) -> list[SegmentName]:
        if not self._folder.is_dir():
            return []
        names = (parse_name(path.name) for path in self._folder.iterdir())
        return sorted(name for name in names if name is not None)


class _Stream:
    """One writer's segments, read in order."""

    def __init__(self, folder: Path, name: str, start: Cursor) -> None:
        self._folder = folder
        self._name = name
        self._sequence = start.sequence
        self._offset = max(start.offset, FIRST_RECORD)
        self._reader: SegmentReader | None = None
        self._open: dict[str, tuple[Begin, Cursor]] = {}
        self.finished = False

    def cursor(self) -> Cursor:
        """The oldest open request, else the next record."""
        for _, at in self._open.values():
            return at
        return Cursor(self._sequence, self._offset)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read(self, rows: list[UsageRow], max_rows: int) -> int:
        """Appends settled rows until max_rows, or until there is no more now; returns damages skipped."""
        num_torn = 0
        while not self.finished and len(rows) < max_rows:
            reader = self._current()
            if reader is None:
                num_torn += 1
                self._next_segment(rows)
                continue
            torn_before = reader.num_torn
            ended = self._read_segment(reader, rows, max_rows)
            num_torn += reader.num_torn - torn_before
            if not ended:
                break
            self._next_segment(rows)
        return num_torn

    def _read_segment(self, reader: SegmentReader, rows: list[UsageRow], max_rows: int) -> bool:
        """True when the segment will never hold more. Its lock is looked at before its records: a writer seen dead
        has written all it ever will."""
        alive = reader.writer_alive()
        while len(rows) < max_rows:
            at = Cursor(self._sequence, reader.offset)
            found = reader.read(alive=alive)
            self._offset = reader.offset
            if not isinstance(found, bytes):
                return found != "open" or not alive
            self._take(found, at, rows)
        return False

    def _take(self, payload: bytes, at: Cursor, rows: list[UsageRow]) -> None:
        try:
            record = _decode(payload)
        except msgspec.MsgspecError as error:
            log.warning("usage record at %s %s is not readable: %s", self._name, at, error)
            return
        if isinstance(record, Begin):
            self._open.setdefault(record.request_id, (record, at))
            return
        opened = self._open.pop(record.request_id, None)
        if opened is not None:  # else its Begin lies behind the cursor: settled before a restart
            rows.append(settle(opened[0], record))

    def _next_segment(self, rows: list[UsageRow]) -> None:
        """Moves on; at the end of the stream everything still open was lost with its worker."""
        self.close()
        if self._path(self._sequence + 1).exists():
            self._sequence += 1
            self._offset = FIRST_RECORD
            return
        rows.extend(settle_lost(begin) for begin, _ in self._open.values())
        self._open.clear()
        self.finished = True

    def _current(self) -> SegmentReader | None:
        """The segment being read; None when it is unreadable, which is logged and its file set aside as evidence."""
        if self._reader is None:
            path = self._path(self._sequence)
            try:
                self._reader = SegmentReader(path, self._offset)
            except FileNotFoundError:
                log.warning("usage segment %s has disappeared", path)
            except RuntimeFailure as error:
                log.warning("%s; kept as %s.bad", error.message, path)
                path.rename(path.with_name(path.name + ".bad"))
        return self._reader

    def _path(self, sequence: int) -> Path:
        return self._folder / SegmentName(self._name, sequence).filename
