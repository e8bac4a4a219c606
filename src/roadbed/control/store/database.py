"""Opening the database and the only two ways to use it: `read()` and `write()`.

One writer: the process's writer lock plus one short transaction, so SQLite never answers "database is locked" and
decisions are serial. Readers see the last commit and never wait (WAL; MVCC on PostgreSQL). A commit tells listeners its
topic after the lock is released, which is how reconcilers wake without polling.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from roadbed.control.store.migrate import migrate
from roadbed.errors import RuntimeFailure, UsageError

logger = logging.getLogger(__name__)

Topic = Literal["state", "usage", "publish"]
Clock = Callable[[], float]

BUSY_TIMEOUT_MS = 10_000
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 56}
"""More connections than threads that may ask at once (40 of the API, those of the loops)."""


class Store:
    """The open database. Thread-safe; `clock` gives Unix seconds."""

    def __init__(self, engine: Engine, clock: Clock = time.time) -> None:
        self.engine = engine
        self.clock = clock
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Topic], None]] = []

    @contextmanager
    def write(self, topic: Topic = "state") -> Iterator[Connection]:
        """The writer's transaction: committed at the end, rolled back if the block raises. Not re-entrant."""
        with self._lock, self.engine.connect().execution_options(roadbed_write=True) as connection, connection.begin():
            yield connection
        for listener in tuple(self._listeners):
            listener(topic)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading; what is written through it is rolled back."""
        with self.engine.connect() as connection:
            yield connection

    def subscribe(self, listener: Callable[[Topic], None]) -> Callable[[], None]:
        """Calls `listener(topic)` in the writer's thread after each commit; returns the way to unsubscribe."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        self.engine.dispose()


def open_store(url: str | None, sqlite_path: Path, clock: Clock = time.time) -> Store:
    """Opens and migrates the database: `url`, or SQLite at `sqlite_path`.

    Raises UsageError for a URL we can't use, RuntimeFailure when the server does not answer or migrating fails.
    """
    parsed = _parse(url) if url else URL.create("sqlite", database=str(sqlite_path))
    shown = parsed.render_as_string(hide_password=True)
    engine = _engine(parsed)
    try:
        with engine.connect().execution_options(roadbed_write=True) as connection, connection.begin():
            migrate(connection)
    except OperationalError as error:
        engine.dispose()
        said = str(error.orig or error).strip().splitlines()[0]
        raise RuntimeFailure(f"control.database_url: {shown}: {said}", hint="roadbed doctor") from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, clock)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            "control.database_url is not a database URL",
            hint="write postgresql://user@host/database or sqlite:////path/to/file",
            field="control.database_url",
        ) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise UsageError(
            f"control.database_url: {parsed.drivername} is not supported; use sqlite or postgresql",
            hint="roadbed schema config",
            field="control.database_url",
        )
    return parsed


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, **_POOL)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return create_engine(url, **_POOL, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise UsageError(
            "control.database_url: the PostgreSQL driver is not installed", hint="pip install 'roadbed[postgres]'"
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's own guesses begin too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("roadbed_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
