"""The installed command as a user runs it: a real platform in a home of its own, shared by a test session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from roadbed.home import Home
from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore

CONFIG = "gateway: {port: 0}\ncontrol: {port: 0}\n"
OWN_VARIABLES = ("ROADBED_HOME", "ROADBED_URL", "ROADBED_TOKEN", "ROADBED_API_KEY", "ROADBED_GATEWAY_URL", "NO_COLOR")


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        import json

        return json.loads(self.out)


@dataclass
class Shell:
    """Runs `roadbed …` in one home."""

    home: Home
    env: dict[str, str] = field(default_factory=dict)

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "roadbed.cli", *args]

    def environment(self, **env: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        return inherited | {"ROADBED_HOME": str(self.home.root)} | self.env | env

    def __call__(self, *args: str, stdin: str = "", timeout_s: float = 90.0, **env: str) -> Result:
        done = subprocess.run(
            self.argv(*args),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.environment(**env),
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def popen(self, *args: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.argv(*args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**env),
        )


def model_cache() -> Path:
    """The store the suite's real models are kept in between runs."""
    chosen = os.environ.get("ROADBED_TEST_MODELS")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("roadbed-tests")) / "models"


def make_home(root: Path, config: str = CONFIG) -> Home:
    """A home whose model store already holds the default model, as hard links."""
    ModelStore(model_cache()).pull(resolve(DEFAULT_MODEL), expected_sha256(DEFAULT_MODEL))
    home = Home(root)
    home.create()
    home.config.write_text(config)
    for part in ("blobs", "refs"):
        shutil.copytree(model_cache() / part, home.models / part, copy_function=_link)
    return home


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def pids_of(home: Home) -> list[int]:
    """Processes whose command line names this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(home.root).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended while we looked
    return found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The command in an empty home where nothing runs."""
    home = Home(tmp_path / "home")
    home.create()
    home.config.write_text(CONFIG)
    return Shell(home)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The command beside a running platform that serves `chat`."""
    home = make_home(tmp_path_factory.mktemp("platform") / "home")
    running = Shell(home)
    up = running("up")
    try:
        assert up.code == 0, up.err
        yield running
    finally:
        down = running("down")
        assert down.code == 0, down.err
        assert pids_of(home) == []
