"""The admin token: one random text in a file only its owner can read. Who can read the file is the administrator."""

import os
import secrets
from pathlib import Path

from roadbed.errors import RuntimeFailure


def ensure_token(path: Path) -> str:
    """The token, made at first need. Raises RuntimeFailure when the file is empty or open to others."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    token = secrets.token_urlsafe(32)
    with os.fdopen(fd, "w") as file:
        file.write(token + "\n")
    return token


def _read(path: Path) -> str:
    token = path.read_text("utf-8").strip()
    if not token:
        raise RuntimeFailure(f"{path} is empty", hint=f"rm {path} && roadbed up")
    if path.stat().st_mode & 0o077:
        raise RuntimeFailure(f"{path} can be read by others", hint=f"chmod 600 {path}")
    return token
