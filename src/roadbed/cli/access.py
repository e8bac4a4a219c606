"""Where the gateway is and with which key the command line asks it.

`chat` and `bench` should just work after `up`: without $ROADBED_API_KEY they use a key of their own, made once through
the admin API, kept in the home (0600) and made anew when it is refused.
"""

import os
import stat
import time
from pathlib import Path

from roadbed.cli.base import did_you_mean
from roadbed.cli.completion import Gateway
from roadbed.errors import AuthError, NotFoundError, UsageError

KEY_NAME = "cli"
NEWS_S = 3.0
"""A key just made is known to every gateway worker long before this."""


def gateway_url() -> str:
    """Base URL of the OpenAI API, without /v1: ROADBED_GATEWAY_URL, else the platform of the home."""
    from roadbed.control.client import read_platform
    from roadbed.home import find_home

    chosen = os.environ.get("ROADBED_GATEWAY_URL")
    if chosen:
        return chosen.rstrip("/").removesuffix("/v1")
    if os.environ.get("ROADBED_URL"):
        raise UsageError(
            "ROADBED_URL names a control plane elsewhere, but not its gateway",
            hint="export ROADBED_GATEWAY_URL=http://HOST:8000",
        )
    return str(read_platform(find_home())["gateway_url"])


class CliKey:
    """The key to use. `renew` replaces it, if it is ours to replace."""

    def __init__(self) -> None:
        from roadbed.home import find_home

        self._path: Path = find_home().cli_key
        self.given = os.environ.get("ROADBED_API_KEY", "")
        self.fresh = False
        """Made by this very command: a gateway may need a moment to hear of it."""

    def get(self) -> str:
        """The key's text; makes one the first time. Raises UnreachableError when nobody can make it."""
        if self.given:
            return self.given
        try:
            kept = self._path.read_text("utf-8").strip()
        except FileNotFoundError:
            return self.renew()
        return kept or self.renew()

    def renew(self) -> str:
        """A new key, kept for next time. Raises AuthError when the refused key is the user's own."""
        from roadbed.cli.base import client

        if self.given:
            raise AuthError("the gateway refuses the key in ROADBED_API_KEY", hint="roadbed keys create NAME")
        secret: str = client().create_key(KEY_NAME)["secret"]
        write_secret(self._path, secret)
        self.fresh = True
        return secret


def open_gateway() -> Gateway:
    """A gateway and a key it takes: one of our own is made, or made anew when it is refused."""
    keys = CliKey()
    gateway = Gateway(gateway_url(), keys.get())
    deadline = time.monotonic() + NEWS_S
    while True:
        try:
            gateway.models()
            return gateway
        except AuthError:
            if not keys.fresh:
                gateway.key = keys.renew()
            elif time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def choose_model(gateway: Gateway, wanted: str | None) -> str:
    """`wanted`, or the first that is served. Raises NotFoundError with the names there are."""
    names = gateway.models()
    if not names:
        raise NotFoundError("nothing is served yet", hint="roadbed apply -f service.yaml")
    if wanted is not None and wanted not in names:
        raise NotFoundError(f"no model {wanted!r} is served{did_you_mean(wanted, names)}", hint="roadbed ps")
    return wanted or names[0]


def write_secret(path: Path, secret: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    fresh.replace(path)
