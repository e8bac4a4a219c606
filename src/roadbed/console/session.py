"""Who may look: a browser that has shown the admin token once, and from then on its session cookie.

A session is `<expiry>.<nonce>.<HMAC>` under a key derived from the admin token: nothing to store, it survives a restart
of control, and a new admin token ends all of them. The trade-off is that one session alone can't be revoked; it lives
twelve hours. The cookie's name carries a mark of the token, as cookies do not know ports and two platforms on one host
would sign each other out.
"""

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

LIFETIME_S = 12 * 3600
_DIGEST = "sha256"


class Sessions:
    """Issues and checks sessions of one admin token."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"roadbed console: sessions", _DIGEST)
        self._clock = clock
        self.cookie = "roadbed_" + hmac.digest(self._token, b"roadbed console: cookie", _DIGEST).hex()[:10]
        """Name of the cookie."""

    def accepts(self, token: str) -> bool:
        """Whether this is the admin token; compared in constant time."""
        return hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token)

    def issue(self) -> str:
        """A session good for LIFETIME_S."""
        said = f"{int(self._clock()) + LIFETIME_S}.{secrets.token_urlsafe(12)}"
        return f"{said}.{self._sign(said)}"

    def valid(self, session: str | None) -> bool:
        """Whether we issued it and it has not expired."""
        said, _, signature = (session or "").rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(said).encode()):
            return False
        return int(said.partition(".")[0]) > self._clock()

    def _sign(self, said: str) -> str:
        return hmac.digest(self._key, said.encode("utf-8", "replace"), _DIGEST).hex()


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something comes from our own page (CSRF); `headers` by lower-case name.

    Every browser sends Origin with a POST, so a request without one is not from a page of ours.
    """
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    host = headers.get("host", "")
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    return bool(host) and origin.scheme in ("http", "https") and origin.netloc.lower() == host.lower()
