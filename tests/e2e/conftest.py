"""One platform for the whole folder where tests leave it as they found it, one of their own for those that break it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from roadbed.models.catalogue import DEFAULT_MODEL, expected_sha256, resolve
from roadbed.models.store import ModelStore
from tests.e2e.platform import Platform, until


@pytest.fixture(scope="session")
def models() -> Path:
    """A model store with the default model, kept between runs."""
    chosen = os.environ.get("ROADBED_TEST_MODELS")
    root = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("roadbed-tests")) / "models"
    ModelStore(root).pull(resolve(DEFAULT_MODEL), expected_sha256(DEFAULT_MODEL))
    return root


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Platform]:
    """Two replicas of the default model behind one gateway worker."""
    it = Platform(tmp_path_factory.mktemp("platform") / "home", models)
    try:
        it.up("--replicas", "2")
        yield it
    finally:
        it.down()
        until(lambda: not it.processes(), 20, "the end of every process")


@pytest.fixture
def own_platform(tmp_path: Path, models: Path) -> Iterator[Callable[..., Platform]]:
    """Starts platforms that the test may break."""
    started: list[Platform] = []

    def start(*args: str, **options: Any) -> Platform:
        it = Platform(tmp_path / f"home{len(started)}", models, **options)
        started.append(it)
        it.up(*args)
        return it

    yield start
    for it in started:
        it.down()  # says so and succeeds where nothing runs
        until(lambda it=it: not it.processes(), 20, "the end of every process")
