"""One database, one writer, one file of queries per noun. SQLite by default, PostgreSQL by URL, the same code."""

from roadbed.control.store.database import Store, Topic, open_store

__all__ = ["Store", "Topic", "open_store"]
