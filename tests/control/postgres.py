"""A real PostgreSQL server for the length of a test run: Debian's binaries, a Unix socket, nothing on the network.

`postgres` refuses to run as root, so as root it runs as the `postgres` user; as anyone else it runs as they are.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_WITHIN_S = 60.0


def find_binaries() -> Path | None:
    """The newest server installed here, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def server_user() -> dict[str, Any]:
    """Keywords for subprocess that make it the user the server may run as."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Starts a fresh server; yields the URL of its `postgres` database."""
    as_user = server_user()
    # Not below pytest's tmp_path: that is 0700 for whoever runs the tests, and socket paths must be short.
    root = Path(tempfile.mkdtemp(prefix="rb-pg-"))
    try:
        if as_user:
            os.chown(root, as_user["user"], as_user["group"])
        data, log = root / "data", root / "log"
        init = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "roadbed",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ]
        subprocess.run(init, check=True, capture_output=True, cwd=root, **as_user)
        with log.open("wb") as output:
            argv = [binaries / "postgres", "-D", data, "-k", root, "-c", "listen_addresses=", "-c", "fsync=off"]
            server = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, cwd=root, **as_user)
        try:
            _wait_ready(binaries, root, server, log)
            yield f"postgresql://roadbed@/postgres?host={root}"
        finally:
            server.send_signal(signal.SIGINT)  # "fast" shutdown
            server.wait(30)
    finally:
        shutil.rmtree(root)


def _wait_ready(binaries: Path, root: Path, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    ask = [binaries / "pg_isready", "-q", "-h", root, "-U", "roadbed"]
    while subprocess.run(ask, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
