"""The bytes of a ledger segment: a preallocated file, mapped, filled front to back by one writer.

    header (32 bytes) · record · record · … · zeros
    record = u32 length · u32 crc32 of payload · payload · padding to 8 bytes

The payload is written before the length, so a length of zero is the end for whoever reads along; lengths SEALED (a next
segment exists) and CLOSED (the writer is done) end a segment for good. Memory-mapped bytes belong to the kernel once
stored: killing the writer loses nothing. What can be torn is the record being copied at that instant, or pages a
power failure kept from the disk; both fail their checksum and are skipped.

Names are `w<worker>-<pid>-<start in hex ms>-<seq>.seg`; all but the seq names the writer's stream. While a writer lives
it holds a lock (flock) on its newest segment, which the kernel drops however it dies.
"""

import fcntl
import mmap
import os
import re
import struct
from pathlib import Path
from typing import Literal, NamedTuple
from zlib import crc32

from roadbed.errors import RuntimeFailure

HEADER = struct.Struct("<8s24x")
MAGIC = b"RBSEG1\0\0"
FIRST_RECORD = HEADER.size
SEALED = 0xFFFF_FFFF
CLOSED = 0xFFFF_FFFE
MAX_RECORD_BYTES = 1 << 20

_PREFIX = struct.Struct("<II")
_CRC = struct.Struct("<I")
_NAME = re.compile(r"^(w\d+-\d+-[0-9a-f]+)-(\d{6,})\.seg$")

End = Literal["open", "sealed", "closed", "torn"]


class SegmentName(NamedTuple):
    stream: str
    sequence: int

    @property
    def filename(self) -> str:
        return f"{self.stream}-{self.sequence:06d}.seg"


def parse_name(filename: str) -> SegmentName | None:
    """None for files that are no segments (drafts, strangers)."""
    match = _NAME.match(filename)
    return SegmentName(match[1], int(match[2])) if match else None


def record_bytes(payload_bytes: int) -> int:
    """Space a record takes."""
    return (_PREFIX.size + payload_bytes + 7) & ~7


class SegmentWriter:
    """A new segment, locked by this process until `close`. It stays a hidden draft until `publish`."""

    def __init__(self, folder: Path, name: SegmentName, size_bytes: int) -> None:
        """Reserves the disk space. Raises RuntimeFailure when there is none."""
        self.name = name
        self.path = folder / name.filename
        self._draft: Path | None = folder / f".{name.filename}.new"
        self.fd = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            os.posix_fallocate(self.fd, 0, size_bytes)
            self._map = mmap.mmap(self.fd, size_bytes)
        except OSError as error:
            os.close(self.fd)
            self._draft.unlink()
            raise RuntimeFailure(
                f"no room for a usage segment of {size_bytes} bytes in {folder}: {error.strerror}",
                hint=f"df -h {folder}",
            ) from error
        self._words = memoryview(self._map).cast("I")
        HEADER.pack_into(self._map, 0, MAGIC)
        self.at = FIRST_RECORD
        """Where the next record goes."""
        self._end = size_bytes - _PREFIX.size  # the end mark always fits

    def publish(self) -> None:
        """Makes it visible to readers; they see it locked from the first moment."""
        if self._draft is not None:
            self._draft.rename(self.path)
            self._draft = None

    def append(self, payload: bytes) -> bool:
        """False when it does not fit here. ≈1 µs."""
        at, length = self.at, len(payload)
        after = at + ((length + 15) & ~7)
        if after > self._end:
            return False
        self._map[at + 8 : at + 8 + length] = payload
        words, index = self._words, at >> 2
        words[index + 1] = crc32(payload)
        words[index] = length  # last: a reader takes the record for whole now
        self.at = after
        return True

    def seal(self, mark: int) -> None:
        """Ends the segment for good: SEALED once its successor is published, or CLOSED."""
        _CRC.pack_into(self._map, self.at, mark)

    def close(self) -> None:
        """Unmaps and drops the lock; a draft nobody published is removed. Idempotent."""
        if self.fd < 0:
            return
        self._words.release()
        self._map.close()
        os.close(self.fd)
        self.fd = -1
        if self._draft is not None:
            self._draft.unlink()
            self._draft = None


class SegmentReader:
    """Reads a segment from an offset on, while it is written or long after."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Raises RuntimeFailure when the file is no segment (its first page was lost)."""
        self._file = path.open("rb")
        if self._file.read(len(MAGIC)) != MAGIC or path.stat().st_size < HEADER.size:
            self._file.close()
            raise RuntimeFailure(f"{path} is not a usage segment", hint=f"head -c 32 {path} | xxd")
        self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        self.offset = max(offset, FIRST_RECORD)
        """Where the next record begins."""
        self.num_torn = 0
        """Damaged stretches skipped."""

    def close(self) -> None:
        self._map.close()
        self._file.close()

    def writer_alive(self) -> bool:
        """Whether the writer still holds its lock."""
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._file.fileno(), fcntl.LOCK_UN)
        return False

    def read(self, *, alive: bool) -> bytes | End:
        """The next payload, or how the segment ends here.

        open: nothing more yet. sealed, closed: nothing more ever. torn: nothing valid to the end of the file; only
        said of dead writers (`alive` False), whose damaged stretches are skipped when valid records follow.
        """
        while True:
            found = self._record_at(self.offset)
            if isinstance(found, bytes):
                self.offset += record_bytes(len(found))
                return found
            if found != "torn":
                return found
            if alive:
                return "open"
            self.num_torn += 1
            following = self._resync(self.offset + 8)
            if following is None:
                return "torn"
            self.offset = following

    def _record_at(self, at: int) -> bytes | End:
        if at + _PREFIX.size > len(self._map):
            return "open" if at + 4 > len(self._map) else self._mark_at(at)
        length, crc = _PREFIX.unpack_from(self._map, at)
        if length == 0 or length >= CLOSED:
            return self._mark_at(at)
        payload = self._map[at + 8 : at + 8 + length] if length <= MAX_RECORD_BYTES else b""
        if len(payload) != length or crc32(payload) != crc:
            return "torn"
        return payload

    def _mark_at(self, at: int) -> End:
        (length,) = _CRC.unpack_from(self._map, at)
        if length == SEALED:
            return "sealed"
        return "closed" if length == CLOSED else "open"

    def _resync(self, at: int) -> int | None:
        """The next offset at which a record with a valid checksum or an end mark begins. O(rest of the segment)."""
        for offset in range(at, len(self._map) - _PREFIX.size, 8):
            found = self._record_at(offset)
            if isinstance(found, bytes) or found in ("sealed", "closed"):
                return offset
        return None
