"""Where Roadbed keeps its state: one directory, every path named here and nowhere else.

ROADBED_HOME/
  config.yaml       platform config, optional (spec/platform.py)
  admin.token       bearer token of the control API, mode 0600
  cli.key           API key that `roadbed chat` made for itself, mode 0600
  roadbed.db        SQLite store (unless a database URL is configured)
  models/           content-addressed model store
  ledger/           append-only usage segments, one writer each
  traffic/          hashes and numbers of past requests, for replays (bounded)
  logs/<process>/   rotated output of every process we run
  run/              volatile: sockets, locks, the gateway's snapshot, the shared account
"""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one state directory; creates nothing until `create()`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def cli_key(self) -> Path:
        return self.root / "cli.key"

    @property
    def database(self) -> Path:
        return self.root / "roadbed.db"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def traffic(self) -> Path:
        return self.root / "traffic"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def agent_socket(self) -> Path:
        return self.run / "agent.sock"

    @property
    def agent_lock(self) -> Path:
        return self.run / "agent.lock"

    @property
    def snapshot(self) -> Path:
        return self.run / "gateway.json"

    @property
    def account(self) -> Path:
        return self.run / "account.bin"

    def create(self) -> None:
        """Makes the directories, private to the user (they hold tokens and sockets)."""
        for path in (self.root, self.models, self.ledger, self.logs, self.run):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)


def find_home() -> Home:
    """The state directory: $ROADBED_HOME, else the user's data directory."""
    chosen = os.environ.get("ROADBED_HOME")
    root = Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("roadbed"))
    return Home(root.resolve())
