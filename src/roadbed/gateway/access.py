"""Who is asking, and may they: API keys by digest, scopes, expiry.

A key reads `rb_<id>_<secret>`. The id finds the entry, the SHA-256 of the whole text is compared in constant time.
A fast digest is right here: the secret is 128 random bits, there is no dictionary to try. A header that passed is
remembered, so that the next request with it is one look-up; only accepted headers are, at most MAX_REMEMBERED of them.
Revoking removes the entry from the snapshot, and what is remembered belongs to a snapshot, so the next request after
the swap (≤ 0.2 s) is refused.
"""

from hashlib import sha256
from hmac import compare_digest
from math import inf
from time import time

from roadbed.gateway.account import LimitView
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.snapshot import KeyEntry, LimitsEntry, Snapshot, TenantEntry

MAX_REMEMBERED = 4096
_NO_KEY = "No API key. Send it as 'Authorization: Bearer rb_…'."


class Caller:
    """A key with its tenant, ready for the hot path."""

    __slots__ = ("digest", "expires_at", "key", "limited", "limits", "models", "scopes", "tenant")

    def __init__(self, key: KeyEntry, tenant: TenantEntry) -> None:
        self.key = key
        self.tenant = tenant
        self.digest = bytes.fromhex(key.digest)
        self.models = frozenset(key.models)
        self.scopes = key.scopes
        self.expires_at = key.expires_at if key.expires_at is not None else inf
        views = (
            LimitView("key", key.id, key.slot, key.limits),
            LimitView("tenant", tenant.name, tenant.slot, tenant.limits),
        )
        self.limits = tuple(view for view in views if view.limits != LimitsEntry())
        """Whoever of the two has a ceiling."""
        self.limited = bool(self.limits)


class Callers:
    """All keys of one snapshot. Keys of unknown tenants are left out: they cannot be billed."""

    __slots__ = ("_by_header", "_by_id")

    def __init__(self, snapshot: Snapshot) -> None:
        tenants = {tenant.name: tenant for tenant in snapshot.tenants}
        self._by_id = {
            key.id.encode(): Caller(key, tenants[key.tenant]) for key in snapshot.keys if key.tenant in tenants
        }
        self._by_header: dict[bytes, Caller] = {}

    def authenticate(self, header: bytes | None, scope: str) -> Caller:
        """The caller of an Authorization header. Raises ApiError 401 (who?) or 403 (not allowed)."""
        if header is None:
            raise ApiError(401, "missing_api_key", _NO_KEY)
        caller = self._by_header.get(header)
        if caller is None:
            caller = self._identify(header)
            if len(self._by_header) >= MAX_REMEMBERED:
                self._by_header.clear()
            self._by_header[header] = caller
        if time() >= caller.expires_at:
            raise ApiError(401, "expired_api_key", "This API key has expired; ask for a new one.")
        if scope not in caller.scopes:
            raise ApiError(403, "missing_scope", f"This API key does not have the scope '{scope}'.")
        return caller

    def _identify(self, header: bytes) -> Caller:
        if header[:7].lower() != b"bearer ":
            raise ApiError(401, "invalid_api_key", _NO_KEY)
        text = header[7:].strip()
        parts = text.split(b"_", 2)
        caller = self._by_id.get(parts[1]) if len(parts) == 3 else None
        digest = sha256(text).digest()
        if caller is None or not compare_digest(digest, caller.digest):
            raise ApiError(401, "invalid_api_key", "Unknown API key. It may have been revoked; ask for a new one.")
        return caller
