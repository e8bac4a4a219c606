"""What operators and predictors said of nodes; machines nobody spoke of have no row."""

import msgspec
from sqlalchemy import Connection, insert, select, update

from roadbed.control.store.tables import nodes


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """drain: what runs there leaves at its next checkpoint. risk: predicted probability to fail soon."""

    name: str
    cordoned: bool = False
    drain: bool = False
    risk: float = 0.0
    updated_at: float = 0.0


def list_node_rows(connection: Connection) -> list[NodeRow]:
    """By name."""
    return [NodeRow(**row._mapping) for row in connection.execute(select(nodes).order_by(nodes.c.name))]


def put_node(connection: Connection, row: NodeRow) -> None:
    """Inserts or replaces."""
    values = msgspec.structs.asdict(row)
    changed = connection.execute(update(nodes).where(nodes.c.name == row.name).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(nodes).values(**values))
