"""The in-flight account as the router sees it: my row of each replica, and the sum of everyone else's.

Each gateway worker (or the twin) is the only writer of its rows; the sum over workers is the exact account. The real
one lives in shared memory (`gateway/account.py`); the one here serves a single process.
"""

from collections.abc import Sequence
from typing import Protocol


class AccountView(Protocol):
    """What the router needs of the shared account. Calls are hot: no call may block."""

    def write(self, slot: int, num_requests: int, prefill_tokens: int, context_tokens: int, decode_tokens: int) -> None:
        """Replaces my row of a replica: what I have in flight there."""
        ...

    def others(self, slots: Sequence[int]) -> list[list[int]] | None:
        """Per slot, the four numbers summed over all other workers; None when there are none."""
        ...

    def count(self, slot: int, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> None:
        """Adds one finished request to the running totals of a replica."""
        ...


class MemoryAccount:
    """Rows shared by the views of one process; `view(worker)` is an AccountView."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], list[int]] = {}
        """(worker, slot) → in-flight requests, prefill, context and decode tokens."""
        self.totals: dict[int, list[int]] = {}
        """slot → finished requests, prompt, cached, completion tokens."""
        self.workers: set[int] = set()

    def view(self, worker: int = 0) -> "MemoryAccountView":
        self.workers.add(worker)
        return MemoryAccountView(self, worker)

    def total(self, slot: int) -> list[int]:
        """The exact account of one replica."""
        rows = [row for (_, row_slot), row in self.rows.items() if row_slot == slot]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else [0, 0, 0, 0]


class MemoryAccountView:
    """One worker's view of a MemoryAccount."""

    def __init__(self, account: MemoryAccount, worker: int) -> None:
        self._account = account
        self._worker = worker

    def write(self, slot: int, num_requests: int, prefill_tokens: int, context_tokens: int, decode_tokens: int) -> None:
        self._account.rows[self._worker, slot] = [num_requests, prefill_tokens, context_tokens, decode_tokens]

    def others(self, slots: Sequence[int]) -> list[list[int]] | None:
        account = self._account
        if len(account.workers) == 1:
            return None
        sums: list[list[int]] = []
        for slot in slots:
            mine = account.rows.get((self._worker, slot), [0, 0, 0, 0])
            sums.append([total - own for total, own in zip(account.total(slot), mine, strict=True)])
        return sums

    def count(self, slot: int, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> None:
        totals = self._account.totals.setdefault(slot, [0, 0, 0, 0])
        for index, amount in enumerate((1, prompt_tokens, cached_tokens, completion_tokens)):
            totals[index] += amount
