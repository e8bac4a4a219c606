"""Who is asking, and may they: API keys by digest, scopes, expiry.

A key reads `rb_<id>_<secret>`. The id finds the entry, the SHA-256 of the whole text is compared in constant time.
A fast digest is right here: the secret is 128 random bits, there is no dictionary to try. Revoking removes the entry
from the snapshot, so the next request after the swap (≤ 0.2 s) is refused.
"""

from hashlib import sha256
from hmac import compare_digest
from time import time

from roadbed.gateway.account import LimitView
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.snapshot import KeyEntry, LimitsEntry, Snapshot, TenantEntry

_NO_KEY = "No API key. Send it as 'Authorization: Bearer rb_…'."


class Caller:
    """A key with its tenant, ready for the hot path."""

    __slots__ = ("digest", "key", "limited", "limits", "models", "tenant")

    def __init__(self, key: KeyEntry, tenant: TenantEntry) -> None:
        self.key = key
        self.tenant = tenant
        self.digest = bytes.fromhex(key.digest)
        self.models = frozenset(key.models)
        views = (
            LimitView("key", key.id, key.slot, key.limits),
            LimitView("tenant", tenant.name, tenant.slot, tenant.limits),
        )
        self.limits = tuple(view for view in views if view.limits != LimitsEntry())
        """Whoever of the two has a ceiling."""
        self.limited = bool(self.limits)


def callers(snapshot: Snapshot) -> dict[bytes, Caller]:
    """Key id → caller. Keys of unknown tenants are left out: they cannot be billed."""
    tenants = {tenant.name: tenant for tenant in snapshot.tenants}
    return {key.id.encode(): Caller(key, tenants[key.tenant]) for key in snapshot.keys if key.tenant in tenants}


def authenticate(header: bytes | None, known: dict[bytes, Caller], scope: str) -> Caller:
    """The caller of an Authorization header. Raises ApiError 401 (who?) or 403 (not allowed)."""
    if header is None:
        raise ApiError(401, "missing_api_key", _NO_KEY)
    if header[:7].lower() != b"bearer ":
        raise ApiError(401, "invalid_api_key", _NO_KEY)
    text = header[7:].strip()
    parts = text.split(b"_", 2)
    caller = known.get(parts[1]) if len(parts) == 3 else None
    digest = sha256(text).digest()
    if caller is None or not compare_digest(digest, caller.digest):
        raise ApiError(401, "invalid_api_key", "Unknown API key. It may have been revoked; ask for a new one.")
    if caller.key.expires_at is not None and time() >= caller.key.expires_at:
        raise ApiError(401, "expired_api_key", "This API key has expired; ask for a new one.")
    if scope not in caller.key.scopes:
        raise ApiError(403, "missing_scope", f"This API key does not have the scope '{scope}'.")
    return caller
