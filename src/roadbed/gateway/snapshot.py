"""Everything a gateway worker is told by the control plane, as one file.

The control plane writes `run/gateway.json` (mode 0600) by atomic rename whenever something changed; each worker looks
at the file's identity every 50 ms and swaps the decoded snapshot in one assignment. No connection to lose, nothing to
replay: a worker that starts while the control plane is down serves from the last snapshot. The trade-off is that the
file is rewritten whole (1 ms per thousand keys), which is fine for one node.

Slots index the shared account (`gateway/account.py`) and are never reused while the thing they stand for exists.
"""

import msgspec


class ReplicaEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that may receive requests (or, draining, must not)."""

    id: str
    slot: int
    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    api_key: str | None = None
    upstream_model: str | None = None
    """Model name to write into the body; None = leave the client's."""
    draining: bool = False
    role: str = ""
    """prefill: it computes prompts for the others, which fetch their KV caches from it; else it answers requests."""
    max_concurrency: int = 4
    kv_tokens: int = 16_384
    context_tokens: int = 4096
    capabilities: tuple[str, ...] = ("chat", "completions")
    kind: str = ""
    """Replicas of one kind are as fast as each other, as far as is known."""


class PriceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """CNY per token, as integers of 1e-12 CNY so sums are exact."""

    input_pico: int = 0
    cached_input_pico: int = 0
    output_pico: int = 0


class ServiceEntry(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    models: tuple[str, ...]
    """Names clients may use for it; the first is the canonical one."""
    adapters: tuple[str, ...] = ()
    """Adapters of its model, in the order its engines know them; each is a name clients may use."""
    max_adapters: int = 0
    """Of them, in use at once on a replica; 0 = all."""
    policy: str = "roadbed"
    priority: int = 5
    slo_ttft_s: float | None = None
    slo_tpot_s: float | None = None
    max_queue: int = 512
    max_wait_s: float = 30.0
    created_at: int = 0
    slot: int = -1
    """Row of the account where workers say how many requests they hold for it; −1 = nobody asks."""
    holds: bool = False
    """Load decides how many replicas it has: a request may wait for one that is not there yet."""
    num_desired: int = 0
    """Replicas wanted."""
    note: str = ""
    """Why there is no replica, for clients that waited in vain."""
    price: PriceEntry = PriceEntry()
    replicas: tuple[ReplicaEntry, ...] = ()


class LimitsEntry(msgspec.Struct, frozen=True, kw_only=True):
    """None = no ceiling."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    monthly_budget_pico: int | None = None


class TenantEntry(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    slot: int
    limits: LimitsEntry = LimitsEntry()


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    """Hex SHA-256 of the whole key text `rb_<id>_<secret>`."""
    tenant: str
    slot: int
    scopes: tuple[str, ...] = ("inference",)
    models: tuple[str, ...] = ()
    expires_at: float | None = None
    limits: LimitsEntry = LimitsEntry()


class ListenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway section of config.yaml, resolved. Read once when a worker starts. Sizes in bytes, times in s."""

    host: str = "127.0.0.1"
    port: int = 8000
    num_workers: int = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    max_connections: int = 20_000
    max_header_bytes: int = 32 * 2**10
    max_body_bytes: int = 16 * 2**20
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 120.0
    write_timeout_s: float = 60.0
    upstream_connect_timeout_s: float = 3.0
    upstream_idle_timeout_s: float = 600.0
    drain_timeout_s: float = 30.0
    traffic_log_bytes: int = 64 << 20


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    """Grows with every write."""
    listen: ListenEntry = ListenEntry()
    services: tuple[ServiceEntry, ...] = ()
    tenants: tuple[TenantEntry, ...] = ()
    keys: tuple[KeyEntry, ...] = ()
