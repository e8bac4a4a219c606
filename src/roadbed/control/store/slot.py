"""Rows of the shared account: who gets which.

A counter walks round the rows and skips those in use, so a freed row rests as long as possible before someone else
inherits what a late gateway worker may still write to it.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Connection, select

from roadbed.control.store.meta import get_value, set_value
from roadbed.errors import NoCapacityError


def take_slot(connection: Connection, columns: Sequence[Column[int]], noun: str, num_slots: int) -> int:
    """A row of the account held in none of the columns. Raises NoCapacityError when all `num_slots` are."""
    used: set[int] = set()
    for column in columns:
        used.update(connection.execute(select(column).where(column.is_not(None))).scalars())
    key = f"slot.{noun}"
    first = int(get_value(connection, key, 0))
    for offset in range(num_slots):
        slot = (first + offset) % num_slots
        if slot not in used:
            set_value(connection, key, (slot + 1) % num_slots)
            return slot
    raise NoCapacityError(f"all {num_slots} slots of the account for a {noun} are taken", hint="roadbed keys")
