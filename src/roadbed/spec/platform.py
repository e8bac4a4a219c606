"""`config.yaml` of a ROADBED_HOME: where the platform listens and what it allows. Every key has a default."""

from typing import Annotated

from pydantic import Field, model_validator

from roadbed.spec.base import Spec
from roadbed.spec.quantity import Bytes, Seconds

Port = Annotated[int, Field(ge=0, le=65535)]


class TlsConfig(Spec):
    cert: str
    """PEM file with the certificate chain."""
    key: str
    """PEM file with the private key."""


class GatewayConfig(Spec):
    """The data plane. Loopback unless told otherwise."""

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    tls: TlsConfig | None = None
    max_connections: Annotated[int, Field(ge=1)] = 20_000
    max_header_bytes: Bytes = 32 * 2**10
    max_body_bytes: Bytes = 16 * 2**20
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 60.0
    idle_timeout: Seconds = 120.0
    write_timeout: Seconds = 60.0
    """A client that reads nothing for this long is dropped."""
    upstream_connect_timeout: Seconds = 3.0
    upstream_idle_timeout: Seconds = 600.0
    """An engine that sends nothing for this long has failed the request."""
    drain_timeout: Seconds = 30.0
    traffic_log: Bytes = 64 * 2**20
    """Hashes and numbers of past requests that each worker keeps, for replays in the twin; 0 = none."""


class ControlConfig(Spec):
    host: str = "127.0.0.1"
    port: Port = 8001
    database_url: str | None = None
    """SQLAlchemy URL, such as postgresql+psycopg://…; default SQLite in ROADBED_HOME."""
    lease: Seconds = 5.0
    load_interval: Seconds = 1.0
    """How often engines are asked for their load."""


class NodeConfig(Spec):
    """What of this machine Roadbed may hand out. None = all that the probe finds."""

    cpu: Annotated[float, Field(gt=0)] | None = None
    memory: Bytes | None = None


class Price(Spec):
    """CNY per 1,000 tokens (facts: Bailian price table)."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = None
    """Default: cached_input_ratio × input."""


class PriceBook(Spec):
    """Prices by model name; `default` for models not listed."""

    models: dict[str, Price] = {}
    default: Price = Price(input=0.0003, output=0.0006)
    cached_input_ratio: Annotated[float, Field(ge=0, le=1)] = 0.4
    batch_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5


class PlatformConfig(Spec):
    gateway: GatewayConfig = GatewayConfig()
    control: ControlConfig = ControlConfig()
    node: NodeConfig = NodeConfig()
    prices: PriceBook = PriceBook()

    @model_validator(mode="after")
    def _ports_differ(self) -> "PlatformConfig":
        if self.gateway.port == self.control.port != 0 and self.gateway.host == self.control.host:
            raise ValueError(f"gateway.port and control.port are both {self.gateway.port}; give each its own")
        return self
