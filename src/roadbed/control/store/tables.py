"""The tables, as the code reads them today. Migrations build them; a test keeps the two equal.

Times are Unix seconds, money is integers of 1e-12 CNY, names are text; JSON holds what is only ever read whole.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SEQUENCE = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts by itself only on a column declared INTEGER."""

services = Table(
    "services",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("launch_generation", Integer, nullable=False),
    Column("num_desired", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("deleted_at", Double),
    Column("slot", Integer),
    Column("pinned_at", Double),
)

replicas = Table(
    "replicas",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("service", Text, ForeignKey("services.name"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("idx", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("capacity", JSON),
    Column("restarts", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("ready_at", Double),
    Column("retry_at", Double),
    Column("created_at", Double, nullable=False),
    Column("placement", JSON),
    UniqueConstraint("slot"),
    Index("ix_replicas_service", "service"),
)

tenants = Table(
    "tenants",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("limits", JSON, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("slot"),
)

api_keys = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("models", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("slot", Integer),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    UniqueConstraint("slot"),
    UniqueConstraint("digest"),
    Index("ix_api_keys_tenant", "tenant"),
)

events = Table(
    "events",
    METADATA,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("noun", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("cause", BigInteger),
    Index("ix_events_noun_name_seq", "noun", "name", "seq"),
    sqlite_autoincrement=True,
)

usage = Table(
    "usage",
    METADATA,
    Column("request_id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("day", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("ttft_s", Double, nullable=False),
    Column("predicted_ttft_s", Double, nullable=False, server_default="0"),
    Column("total_s", Double, nullable=False),
    Column("overhead_s", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("route", Text, nullable=False),
    Column("batch", Boolean, nullable=False),
    Column("cost_pico", BigInteger, nullable=False),
    Index("ix_usage_at", "at"),
    Index("ix_usage_key_id_at", "key_id", "at"),
    Index("ix_usage_tenant_at", "tenant", "at"),
)

ledger_cursors = Table(
    "ledger_cursors",
    METADATA,
    Column("segment", Text, primary_key=True),
    Column("position", JSON, nullable=False),
    Column("updated_at", Double, nullable=False),
)

meta = Table(
    "meta",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

tasks = Table(
    "tasks",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("num_failures", Integer, nullable=False),
    Column("num_preemptions", Integer, nullable=False),
    Column("placement", JSON),
    Column("exit_codes", JSON, nullable=False),
    Column("since", Double, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("retry_at", Double),
    Column("created_at", Double, nullable=False),
    Column("deleted_at", Double),
    Index("ix_tasks_state", "state"),
)

quotas = Table(
    "quotas",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

nodes = Table(
    "nodes",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("cordoned", Boolean, nullable=False),
    Column("drain", Boolean, nullable=False),
    Column("risk", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)
