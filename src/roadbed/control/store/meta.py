"""Small named values: counters that must survive a restart."""

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from roadbed.control.store.tables import meta


def get_value(connection: Connection, key: str, default: Any = None) -> Any:
    row = connection.execute(select(meta.c.value).where(meta.c.key == key)).first()
    return default if row is None else row.value


def set_value(connection: Connection, key: str, value: Any) -> None:
    connection.execute(delete(meta).where(meta.c.key == key))
    connection.execute(insert(meta).values(key=key, value=value))


def next_number(connection: Connection, key: str, at_least: int = 0) -> int:
    """Counts `key` up and returns it: strictly growing for the life of the store, and above `at_least`."""
    number = max(int(get_value(connection, key, 0)), at_least) + 1
    set_value(connection, key, number)
    return number
