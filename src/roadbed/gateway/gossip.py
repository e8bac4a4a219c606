"""Prefix news between gateway workers: what one worker sent to a replica attracts the others' requests too.

A memory-mapped ring per worker in one file. Each ring has a single writer and any number of readers with cursors of
their own; a reader that fell a whole ring behind skips ahead. News are hints: losing some costs a cache hit, never an
answer, so there is no lock and nobody waits.

A message is `header, block …` in 8-byte words; header = slot << 32 | removed << 31 | number of blocks. The writer
announces how far it will write before it writes and how far it has written after, so a reader can tell that what it
copied was not overwritten meanwhile.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roadbed.gateway.account import MAX_WORKERS

RING_WORDS = 65_536
MAX_BLOCKS = 8192
"""Blocks per message; longer news are cut into several."""
_HEAD_WORDS = 64
_ANNOUNCED, _WRITTEN = 0, 1
_RING_BYTES = (_HEAD_WORDS + RING_WORDS) * 8
_COUNT_MASK = (1 << 31) - 1
_REMOVED = 1 << 31


class News(msgspec.Struct, frozen=True):
    """Blocks a replica holds now (or, removed, no longer)."""

    slot: int
    blocks: list[int]
    removed: bool = False


class Gossip:
    """One worker's end: publishes on its own ring, polls everyone else's. `worker` −1 (control) polls or not at all,
    and cannot publish."""

    def __init__(self, path: Path, *, num_workers: int, worker: int) -> None:
        """Maps the file, growing it to its (sparse) size if needed."""
        if not 1 <= num_workers <= MAX_WORKERS or not -1 <= worker < num_workers:
            raise ValueError(f"worker {worker} of {num_workers}: need 1 to {MAX_WORKERS} workers")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < MAX_WORKERS * _RING_BYTES:
                os.ftruncate(fd, MAX_WORKERS * _RING_BYTES)
            self._map = mmap.mmap(fd, MAX_WORKERS * _RING_BYTES)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")
        self._worker = worker
        self._peers = [peer for peer in range(num_workers) if peer != worker]
        self._cursors = {peer: self._words[self._base(peer) + _WRITTEN] for peer in self._peers}
        self.num_skipped = 0
        """Words lost because a peer's ring went round before we looked."""
        if worker >= 0:
            self._repair()

    def close(self) -> None:
        """Unmaps. Idempotent."""
        if not self._map.closed:
            self._words.release()
            self._map.close()

    def publish(self, slot: int, blocks: Sequence[int], *, removed: bool = False) -> None:
        """Appends news to this worker's ring. O(blocks), never waits."""
        for first in range(0, len(blocks), MAX_BLOCKS):
            part = blocks[first : first + MAX_BLOCKS]
            header = slot << 32 | (_REMOVED if removed else 0) | len(part)
            base = self._base(self._worker)
            at = self._words[base + _WRITTEN]
            self._words[base + _ANNOUNCED] = at + 1 + len(part)
            self._copy_in(base + _HEAD_WORDS, at, [header, *part])
            self._words[base + _WRITTEN] = at + 1 + len(part)

    def poll(self) -> list[News]:
        """Everything the other workers published since the last poll, oldest first per worker."""
        news: list[News] = []
        for peer in self._peers:
            base = self._base(peer)
            written = self._words[base + _WRITTEN]
            cursor = self._cursors[peer]
            if written == cursor:
                continue
            self._cursors[peer] = written
            if not 0 < written - cursor <= RING_WORDS:
                self.num_skipped += max(0, written - cursor)
                continue
            words = self._copy_out(base + _HEAD_WORDS, cursor, written - cursor)
            if self._words[base + _ANNOUNCED] - cursor > RING_WORDS:
                self.num_skipped += written - cursor
                continue
            news.extend(_decode(words))
        return news

    def _repair(self) -> None:
        """A predecessor killed in mid-publish announced more than it wrote: take back the announcement."""
        base = self._base(self._worker)
        self._words[base + _ANNOUNCED] = self._words[base + _WRITTEN]

    @staticmethod
    def _base(worker: int) -> int:
        return worker * (_HEAD_WORDS + RING_WORDS)

    def _copy_in(self, ring: int, at: int, words: list[int]) -> None:
        start = at % RING_WORDS
        fits = min(len(words), RING_WORDS - start)
        self._words[ring + start : ring + start + fits] = _packed(words[:fits])
        if fits < len(words):
            self._words[ring : ring + len(words) - fits] = _packed(words[fits:])

    def _copy_out(self, ring: int, at: int, count: int) -> list[int]:
        start = at % RING_WORDS
        fits = min(count, RING_WORDS - start)
        words = self._words[ring + start : ring + start + fits].tolist()
        return words + self._words[ring : ring + count - fits].tolist()


def _packed(words: list[int]) -> memoryview:
    return memoryview(b"".join(word.to_bytes(8, "little") for word in words)).cast("Q")


def _decode(words: list[int]) -> list[News]:
    news: list[News] = []
    at = 0
    while at < len(words):
        header = words[at]
        count = header & _COUNT_MASK
        news.append(News(header >> 32, words[at + 1 : at + 1 + count], bool(header & _REMOVED)))
        at += 1 + count
    return news
