"""Opening, migrating, one writer, and who is told of a commit."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from roadbed.control.store import Store, open_store
from roadbed.control.store.meta import get_value, next_number, set_value
from roadbed.control.store.replica import ReplicaRow, insert_replica
from roadbed.control.store.tables import METADATA
from roadbed.errors import ConflictError, RuntimeFailure, UsageError
from roadbed.spec.service import Service


def test_migrations_build_exactly_the_tables_the_code_reads(any_store: Store) -> None:
    with any_store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_opening_twice_keeps_what_is_there(database_url: str, tmp_path: Path) -> None:
    for expected in (None, 7):
        store = open_store(database_url, tmp_path / "unused.db")
        with store.write() as connection:
            assert get_value(connection, "x") == expected
            set_value(connection, "x", 7)
        store.close()


def test_a_newer_database_is_refused(database_url: str, tmp_path: Path) -> None:
    store = open_store(database_url, tmp_path / "unused.db")
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ConflictError, match="written by a newer Roadbed"):
        open_store(database_url, tmp_path / "unused.db")


def test_a_failed_block_leaves_nothing_and_tells_nobody(any_store: Store) -> None:
    heard: list[str] = []
    any_store.subscribe(heard.append)

    def fail_halfway() -> None:
        with any_store.write() as connection:
            set_value(connection, "x", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    with any_store.read() as connection:
        assert get_value(connection, "x") is None
    assert heard == []


def test_commits_are_told_with_their_topic_until_unsubscribed(any_store: Store) -> None:
    heard: list[str] = []
    unsubscribe = any_store.subscribe(heard.append)
    with any_store.write("usage") as connection:
        set_value(connection, "x", 1)
        assert heard == []
    with any_store.write():
        pass
    unsubscribe()
    with any_store.write():
        pass
    assert heard == ["usage", "state"]


def test_a_reader_never_waits_for_a_writer(any_store: Store) -> None:
    with any_store.write() as connection:
        set_value(connection, "x", 1)
        with any_store.read() as reader:
            assert get_value(reader, "x") is None
    with any_store.read() as reader:
        assert get_value(reader, "x") == 1


def test_many_threads_writing_lose_nothing(any_store: Store) -> None:
    def count() -> None:
        for _ in range(20):
            with any_store.write() as connection:
                next_number(connection, "n")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with any_store.read() as connection:
        assert get_value(connection, "n") == 160


def test_next_number_never_falls_behind(any_store: Store) -> None:
    with any_store.write() as connection:
        assert next_number(connection, "v") == 1
        assert next_number(connection, "v", at_least=40) == 41
        assert next_number(connection, "v", at_least=5) == 42


def test_foreign_keys_hold(any_store: Store) -> None:
    orphan = ReplicaRow(id="a-0", service="a", generation=1, spec=Service(name="a", model="m"), idx=0, slot=0)
    with pytest.raises(IntegrityError), any_store.write() as connection:
        insert_replica(connection, orphan)


def test_sqlite_is_in_wal_with_one_writer(store: Store) -> None:
    with store.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000


@pytest.mark.parametrize(
    ("url", "said"),
    [("nonsense", "not a database URL"), ("mysql://x/y", "mysql is not supported"), ("oracle://x", "oracle is not")],
)
def test_urls_we_cannot_use(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        open_store(url, tmp_path / "unused.db")


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        open_store(f"postgresql://roadbed:hunter2@/x?host={tmp_path}", tmp_path / "unused.db")
    assert "control.database_url: postgresql+psycopg://roadbed:***@" in caught.value.message
    assert "hunter2" not in caught.value.message
