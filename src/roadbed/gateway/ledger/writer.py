"""Appends usage to this worker's own segments; a thread makes them durable in batches and readies the next one.

An append is an encode, a checksum and a copy into mapped memory: ≈2 µs, no system call, and already safe from the death
of this process. Only a power failure can lose what the last `sync_interval_s` brought. The next segment is prepared
when the current one is half full, so rolling over does not stall the event loop either.
"""

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

import msgspec

from roadbed.errors import RuntimeFailure
from roadbed.gateway.ledger.record import Begin, End
from roadbed.gateway.ledger.segment import CLOSED, MAX_RECORD_BYTES, SEALED, SegmentName, SegmentWriter

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 2**20


class Ledger:
    """The writing end; one per worker process. `begin` and `end` belong to one thread."""

    def __init__(
        self, folder: Path, worker: int, *, segment_bytes: int = SEGMENT_BYTES, sync_interval_s: float = 0.2
    ) -> None:
        """Creates the first segment. Raises RuntimeFailure when there is no disk space for it."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._half_bytes = segment_bytes // 2
        self._sync_interval_s = sync_interval_s
        self._encode = msgspec.msgpack.Encoder().encode
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_drafts(folder, worker)
        self._stream = f"w{worker}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"
        self._sequence = 0
        self._dirty = False
        self._lock = threading.Lock()
        """Guards the hand-over of segments between the two threads."""
        self._standby: SegmentWriter | None = None
        self._full: list[SegmentWriter] = []
        self._wake = threading.Event()
        self._closing = False
        self.num_records = 0
        self._segment = self._new_segment()
        self._segment.publish()
        self._syncer = threading.Thread(target=self._work, name=f"ledger-w{worker}", daemon=True)
        self._syncer.start()

    def begin(self, record: Begin) -> None:
        """Before the request is sent to an engine. Raises RuntimeFailure when the disk is full: do not serve then."""
        self._append(self._encode(record))

    def end(self, record: End) -> None:
        """When the request is over. Raises RuntimeFailure when the disk is full."""
        self._append(self._encode(record))

    def flush(self) -> None:
        """Returns once everything appended so far is on disk."""
        with self._lock:
            self._sync()

    def close(self) -> None:
        """Seals the stream, syncs and frees everything. Requests still open are settled as worker_lost. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._syncer.join()
        with self._lock:
            self._segment.seal(CLOSED)
            self._dirty = True
            self._sync()
            self._segment.close()
            if self._standby is not None:
                self._standby.close()
                self._standby = None

    def _append(self, payload: bytes) -> None:
        if not self._segment.append(payload):
            self._roll_over(len(payload))
            if not self._segment.append(payload):
                raise RuntimeFailure(f"a usage record of {len(payload)} bytes does not fit a segment")
        self._dirty = True
        self.num_records += 1
        if self._standby is None and self._segment.at > self._half_bytes:
            self._wake.set()

    def _roll_over(self, payload_bytes: int) -> None:
        """The next segment is published before this one is sealed: a sealed segment always has a successor."""
        if payload_bytes > min(MAX_RECORD_BYTES, self._segment_bytes - 64):
            raise RuntimeFailure(f"a usage record of {payload_bytes} bytes does not fit a segment")
        with self._lock:
            following, self._standby = self._standby or self._new_segment(), None
            following.publish()
            self._segment.seal(SEALED)
            self._full.append(self._segment)
            self._segment = following
        self._wake.set()

    def _new_segment(self) -> SegmentWriter:
        segment = SegmentWriter(self._folder, SegmentName(self._stream, self._sequence + 1), self._segment_bytes)
        self._sequence += 1
        return segment

    def _work(self) -> None:
        while not self._closing:
            woken = self._wake.wait(self._sync_interval_s)
            self._wake.clear()
            if woken and not self._closing:
                self._prepare()
            self._sync_outside()

    def _prepare(self) -> None:
        """Readies the next segment; a full disk is only an error once the current segment is full too."""
        with self._lock:
            if self._standby is not None or self._segment.at <= self._half_bytes:
                return
            try:
                self._standby = self._new_segment()
            except RuntimeFailure as error:
                log.warning("cannot prepare the next usage segment: %s", error)

    def _sync_outside(self) -> None:
        """Syncs without holding the lock: the event loop must be able to roll over meanwhile."""
        with self._lock:
            full, self._full = self._full, []
            current = os.dup(self._segment.fd) if self._dirty else -1
            self._dirty = False
        for segment in full:
            _fdatasync(segment.fd)
            segment.close()
        if current >= 0:
            _fdatasync(current)
            os.close(current)

    def _sync(self) -> None:
        for segment in self._full:
            _fdatasync(segment.fd)
            segment.close()
        self._full = []
        if self._dirty:
            self._dirty = False
            _fdatasync(self._segment.fd)


def _fdatasync(fd: int) -> None:
    """A disk that cannot sync is reported, not fatal: the records are still safe from everything but a power cut."""
    try:
        os.fdatasync(fd)
    except OSError as error:
        log.error("usage records could not be made durable: %s", error)


def _remove_drafts(folder: Path, worker: int) -> None:
    """Drafts of this worker's dead predecessors hold nothing; those of one still draining are locked and stay."""
    for draft in folder.glob(f".w{worker}-*.seg.new"):
        with draft.open("rb") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
                draft.unlink(missing_ok=True)
            except BlockingIOError:
                log.debug("%s is still locked", draft)
