"""Moves usage from the workers' ledger segments into the store, exactly once by request id, whatever dies.

Rows and cursors go in one transaction; only then are the segments told. A crash in between reads the same rows again,
and the store ignores those it has.
"""

import asyncio
import logging

from roadbed.control.state import State
from roadbed.control.store.key import touch_keys
from roadbed.control.store.usage import drop_cursors, insert_usage, list_cursors, put_cursors
from roadbed.gateway.ledger.reader import LedgerReader

logger = logging.getLogger(__name__)

PASS_S = 0.25
BATCH_ROWS = 5_000


class LedgerIngest:
    """`one_pass` is what the loop runs; it opens the reader from the stored cursors, and anew after a failure."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._reader: LedgerReader | None = None
        self._cursors: dict[str, tuple[int, int]] = {}

    async def one_pass(self) -> float:
        try:
            num_rows = await asyncio.to_thread(self.ingest)
        except BaseException:
            self.close()
            raise
        return 0.0 if num_rows >= BATCH_ROWS else PASS_S

    def ingest(self) -> int:
        """Moves what is there now; returns how many rows were read."""
        store = self._state.store
        if self._reader is None:
            with store.read() as connection:
                stored = list_cursors(connection)
            self._cursors = {stream: (int(at[0]), int(at[1])) for stream, at in stored.items()}
            self._reader = LedgerReader(self._state.home.ledger, self._cursors)
        batch = self._reader.poll(BATCH_ROWS)
        moved = {stream: (at[0], at[1]) for stream, at in batch.cursors.items() if self._cursors.get(stream) != at}
        if batch.rows or moved or batch.finished:
            last_used: dict[str, float] = {}
            for row in batch.rows:
                last_used[row.key_id] = max(row.began_at, last_used.get(row.key_id, 0.0))
            with store.write("usage") as connection:
                insert_usage(connection, batch.rows)
                put_cursors(connection, {stream: list(at) for stream, at in moved.items()}, store.clock())
                drop_cursors(connection, batch.finished)
                touch_keys(connection, last_used)
            self._cursors.update(moved)
        self._reader.commit(batch)
        return len(batch.rows)

    def close(self) -> None:
        """Lets go of the segments; the next pass opens them from the stored cursors."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
