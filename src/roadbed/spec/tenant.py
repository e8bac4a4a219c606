"""`kind: tenant` and `kind: key` — who may ask, and how much."""

from typing import Annotated, Literal

from pydantic import Field

from roadbed.spec.base import Name, Spec
from roadbed.spec.quantity import Seconds

Scope = Literal["inference", "usage:read"]


class Limits(Spec):
    """Ceilings; None = no ceiling. Those of the key and of its tenant both hold."""

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    monthly_budget_cny: Annotated[float, Field(gt=0)] | None = None


class Tenant(Spec):
    """A team that is billed."""

    kind: Literal["tenant"] = "tenant"
    name: Name
    limits: Limits = Limits()


class Key(Spec):
    """An API key of a tenant. The secret is made by the platform and shown once."""

    kind: Literal["key"] = "key"
    name: Name
    tenant: Name = "default"
    scopes: list[Scope] = ["inference", "usage:read"]
    models: list[str] = []
    """Models this key may use; empty = all."""
    expires_in: Seconds | None = None
    limits: Limits = Limits()
