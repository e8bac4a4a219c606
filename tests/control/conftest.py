"""A store of each kind: SQLite in a temporary folder, and a database of its own on a real PostgreSQL server."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from starlette.testclient import TestClient

from roadbed.control.app import create_app
from roadbed.control.store import Store, open_store
from roadbed.home import Home
from tests.control.harness import TOKEN, World
from tests.control.postgres import find_binaries, running_server

_NUMBERS = itertools.count()


class Clock:
    """A clock that moves when told to."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> float:
        self.now += seconds
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server installed (apt install postgresql)")
    with running_server(binaries) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server = make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    name = f"t{next(_NUMBERS)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture
def any_store(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An open store, once on SQLite and once on PostgreSQL."""
    store = open_store(database_url, tmp_path / "unused.db", clock)
    yield store
    store.close()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """An open store on SQLite."""
    opened = open_store(None, tmp_path / "roadbed.db", clock)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Iterator[World]:
    """A State with its surroundings, for code that needs no running loop."""
    loop = asyncio.new_event_loop()
    made = World(store, Home(tmp_path / "home"), loop)
    yield made
    made.close()
    loop.close()


@pytest.fixture
def api(world: World) -> Iterator[TestClient]:
    """The API, asked as the administrator."""
    with TestClient(create_app(world.state), raise_server_exceptions=False) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield client
