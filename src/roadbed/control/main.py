"""The control process: builds everything, serves the API, runs the reconcilers, and leaves replicas alone when it goes.

Started by the agent, which starts it again when it dies. SIGTERM ends the API and the loops; engines and gateways go on
and are adopted by the next control process.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from roadbed import __version__, engine
from roadbed.control.app import create_app
from roadbed.control.models import ModelJobs
from roadbed.control.placement import node_info
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.gateway import GatewayReconciler
from roadbed.control.reconcilers.ledger import LedgerIngest
from roadbed.control.reconcilers.load import LoadPoller
from roadbed.control.reconcilers.loop import run_loop
from roadbed.control.reconcilers.publisher import Publisher, choose_port, read_snapshot, write_private
from roadbed.control.reconcilers.scale import ScaleReconciler
from roadbed.control.reconcilers.service import ServiceReconciler
from roadbed.control.reconcilers.task import TaskReconciler
from roadbed.control.state import Signals, State, probe_node
from roadbed.control.store import open_store
from roadbed.control.token import ensure_token
from roadbed.errors import RuntimeFailure
from roadbed.gateway.account import Account
from roadbed.hardware.probe import probe
from roadbed.home import Home
from roadbed.models.store import ModelStore
from roadbed.runtime.base import Runtime
from roadbed.runtime.local.client import LocalRuntime
from roadbed.spec.load import load_config

logger = logging.getLogger(__name__)

Mount = Callable[[FastAPI], None]
GRACE_S = 5.0
PLATFORM_FILE = "platform.json"
NODE_NAME = "local"
"""This machine, as the scheduler and `roadbed nodes` call it."""


def serve(home: Home, *, mount: Mount | None = None) -> None:
    """Runs control until SIGTERM or SIGINT. `mount` may add routes beside /api, such as the console.

    Raises SpecError for a wrong config.yaml, RuntimeFailure when the store or the port can't be had.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for chatty in ("alembic", "sqlalchemy.engine"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(run(home, mount=mount))


async def run(
    home: Home,
    *,
    mount: Mount | None = None,
    runtime: Runtime | None = None,
    stop: asyncio.Event | None = None,
    signals: bool = True,
) -> None:
    """`serve` inside a running loop; `stop` ends it beside the signals (False: outside the main thread)."""
    ended = asyncio.Event() if stop is None else stop
    state = build_state(home, runtime)
    try:
        app = create_app(state)
        if mount is not None:
            mount(app)
        config = state.config.control
        with _listening(config.host, config.port) as listener, _signals(ended if signals else None):
            await _serve(state, app, listener, ended)
    finally:
        await close_state(state)


def build_state(home: Home, runtime: Runtime | None = None) -> State:
    """Opens config, store, account and model store of a home. Call inside the running loop."""
    home.create()
    config = load_config(home.config)
    store = open_store(config.control.database_url, home.database)
    node = probe_node(config.node)
    try:
        return State(
            home=home,
            config=config,
            store=store,
            token=ensure_token(home.admin_token),
            runtime=LocalRuntime(home) if runtime is None else runtime,
            models=ModelJobs(ModelStore(home.models), store),
            create_engine=engine.create,
            node=node,
            pool=LivePool([node_info(node, probe(), NODE_NAME)]),
            signals=Signals(store, asyncio.get_running_loop()),
            account=Account(home.account, num_workers=config.gateway.workers),
            gateway_port=choose_port(config.gateway, read_snapshot(home.snapshot)),
        )
    except BaseException:
        store.close()
        raise


async def close_state(state: State) -> None:
    """Gives back what `build_state` opened; stops under way are left to the agent."""
    for task in tuple(state.background):
        task.cancel()
    await asyncio.gather(*state.background, return_exceptions=True)
    await state.models.close()
    state.signals.close()
    if state.account is not None:
        state.account.close()
    state.store.close()


async def _serve(state: State, app: FastAPI, listener: socket.socket, ended: asyncio.Event) -> None:
    server = _Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=int(GRACE_S), ws="none"
        )
    )
    ingest = LedgerIngest(state)
    loops = [
        asyncio.create_task(loop, name=name)
        for name, loop in (
            ("publisher", run_loop(state, "publisher", Publisher(state).one_pass, "state")),
            ("service", run_loop(state, "service", ServiceReconciler(state).one_pass, "state")),
            ("scale", run_loop(state, "scale", ScaleReconciler(state).one_pass, "state")),
            ("task", run_loop(state, "task", TaskReconciler(state).one_pass, "state")),
            ("gateway", run_loop(state, "gateway", GatewayReconciler(state).one_pass)),
            ("load", run_loop(state, "load", LoadPoller(state).one_pass)),
            ("ledger", run_loop(state, "ledger", ingest.one_pass)),
        )
    ]
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="api")
    try:
        _announce(state, listener)
        logger.info("control %s serves on %s", __version__, listener.getsockname())
        waiting = asyncio.create_task(ended.wait(), name="stop")
        done, _ = await asyncio.wait([waiting, serving, *loops], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done - {waiting}:
            task.result()  # a loop or the server ended by itself: its error is ours
    finally:
        server.should_exit = True
        for task in loops:
            task.cancel()
        await asyncio.gather(serving, *loops, return_exceptions=True)
        await asyncio.to_thread(ingest.close)


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn would raise them again after a graceful end, which reads as a crash."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _signals(ended: asyncio.Event | None) -> Iterator[None]:
    if ended is None:
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise RuntimeFailure(
                f"control.port: cannot listen on {host}:{port}: {error.strerror}",
                hint="set control.port in config.yaml, then: roadbed up",
                field="control.port",
            ) from error
        listener.listen(256)
        listener.setblocking(False)
        yield listener


def _announce(state: State, listener: socket.socket) -> None:
    """Tells CLI and console where we are: run/platform.json, replaced in one step."""
    gateway = state.config.gateway
    scheme = "https" if gateway.tls is not None else "http"
    content: dict[str, Any] = {
        "pid": os.getpid(),
        "api_url": f"http://{_reachable(state.config.control.host)}:{listener.getsockname()[1]}",
        "gateway_url": f"{scheme}://{_reachable(gateway.host)}:{state.gateway_port}",
        "version": __version__,
    }
    write_private(state.home.run / PLATFORM_FILE, json.dumps(content).encode())


def _reachable(host: str) -> str:
    """An address to connect to, for a host to listen on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
