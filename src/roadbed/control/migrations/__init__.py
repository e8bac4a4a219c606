"""Alembic migrations, packaged and run at start. A released one is never edited (docs/design/control.md)."""
