"""The traffic log of one worker: a line per settled request, in two files that together stay below a limit.

    traffic/gateway-0.jsonl      being written
    traffic/gateway-0.1.jsonl    the one before

Lines are collected and written once a second, so a killed worker loses a second of them: this is for what-ifs, the
ledger is for bills. A disk that is full costs the lines and one warning, never a request.
"""

import logging
from pathlib import Path

import msgspec

from roadbed.router.traffic import Seen

MAX_WAITING_BYTES = 1 << 20
log = logging.getLogger(__name__)


class TrafficLog:
    """Appends; `limit_bytes` of both files together, 0 = keep nothing."""

    def __init__(self, folder: Path, worker: int, limit_bytes: int) -> None:
        self._path = folder / f"gateway-{worker}.jsonl"
        self._before = folder / f"gateway-{worker}.1.jsonl"
        self._limit = limit_bytes // 2
        self._waiting = bytearray()
        self._encoder = msgspec.json.Encoder()
        self._failed = False
        self._size = self._path.stat().st_size if self._path.exists() else 0

    @property
    def on(self) -> bool:
        """Whether lines are kept at all."""
        return self._limit > 0

    def resize(self, limit_bytes: int) -> None:
        """A changed limit holds from the next line on."""
        self._limit = limit_bytes // 2

    def add(self, seen: Seen) -> None:
        """Remembers one request; written by the next `flush`, or now when much is waiting."""
        self._encoder.encode_into(seen, self._waiting, -1)
        self._waiting += b"\n"
        if len(self._waiting) > MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what is waiting."""
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, bytearray()
        try:
            if self._size + len(lines) > self._limit and self._size:
                self._path.replace(self._before)
                self._size = 0
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(lines)
            self._size += len(lines)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("the traffic log cannot be written, requests are served without it: %s", error)
            self._failed = True

    def close(self) -> None:
        """Writes what is waiting; nothing is kept after that."""
        self.flush()
        self._limit = 0
