"""Brings a database to this version's tables, from the migrations packaged with the code."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from roadbed.errors import ConflictError

_PACKAGE = "roadbed.control.migrations"


def migrate(connection: Connection) -> None:
    """Upgrades to the newest revision inside the caller's transaction.

    Raises ConflictError when the database was written by a newer Roadbed than this one.
    """
    with as_file(files(_PACKAGE)) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise ConflictError(
                f"the store is at revision {current!r}, written by a newer Roadbed than this one",
                hint="pip install --upgrade roadbed",
            )
        command.upgrade(config, "head")
