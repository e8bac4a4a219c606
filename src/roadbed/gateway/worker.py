"""A gateway worker process: `python -m roadbed.gateway.worker --home DIR --index I`.

It needs nobody: it starts from `run/gateway.json`, follows that file, and serves on a port it shares with its sisters
(SO_REUSEPORT: the kernel spreads connections). SIGTERM drains: no new connections, requests under way finish, idle
connections close, and after `drain_timeout_s` the rest is dropped. Requests of a killed worker are settled by whoever
reads its ledger; its rows in the account are zeroed by its successor.
"""

import argparse
import asyncio
import gc
import logging
import resource
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from roadbed.gateway import metrics
from roadbed.gateway.account import Account
from roadbed.gateway.gossip import Gossip
from roadbed.gateway.ledger.writer import Ledger
from roadbed.gateway.plane import Plane
from roadbed.gateway.snapshot import ListenEntry, Snapshot
from roadbed.gateway.traffic import TrafficLog
from roadbed.gateway.wire.server import ServerConnection
from roadbed.home import Home

TICK_S = 0.05
BUSY_TICK_S = 0.005
SWEEP_S = 1.0
log = logging.getLogger(__name__)


class SnapshotFile:
    """The control plane's file; `changed` returns its content when it is another one than last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int, int] | None = None

    def changed(self) -> Snapshot | None:
        """A new snapshot or None. A missing or unreadable file changes nothing: the last snapshot stays in force."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if identity == self._identity:
            return None
        try:
            snapshot = msgspec.json.decode(self._path.read_bytes(), type=Snapshot)
        except (OSError, msgspec.DecodeError):
            log.exception("cannot read %s; the last snapshot stays in force", self._path)
            self._identity = identity
            return None
        self._identity = identity
        return snapshot


class Worker:
    """Owns the listening socket and the clockwork around a Plane."""

    def __init__(self, home: Home, index: int, loop: asyncio.AbstractEventLoop, snapshot: Snapshot) -> None:
        self.listen: ListenEntry = snapshot.listen
        num_workers = self.listen.num_workers
        self.account = Account(home.account, num_workers=num_workers, worker=index)
        self.account.reset_worker(index)
        self.ledger = Ledger(home.ledger, index)
        self.traffic = TrafficLog(home.traffic, index, self.listen.traffic_log_bytes)
        self.plane = Plane(
            loop,
            listen=self.listen,
            account=self.account,
            ledger=self.ledger,
            run_dir=home.run,
            worker=index,
            traffic=self.traffic,
        )
        self.plane.metrics.restore(metrics.load(home.run / f"metrics-{index}.json"))
        self.plane.apply(snapshot)
        self._loop = loop
        self._file = SnapshotFile(home.snapshot)
        self._gossip = (
            Gossip(home.run / "gossip.bin", num_workers=num_workers, worker=index) if num_workers > 1 else None
        )
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.port = 0
        """Where it listens, once it does."""

    def stop(self) -> None:
        """Begins the drain; `run` returns when it is over."""
        self._stopped.set()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains."""
        loop, listen = self._loop, self.listen
        self._server = await loop.create_server(
            lambda: cast(asyncio.Protocol, ServerConnection(self.plane, loop)),
            listen.host,
            listen.port,
            reuse_port=True,
            backlog=4096,
            ssl=_tls(listen),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("listening on %s:%d, snapshot %d", listen.host, self.port, self.plane.tables.version)
        gc.collect()
        gc.freeze()
        self._clock()
        self._sweep()
        await self._stopped.wait()
        await self._drain()

    def close(self) -> None:
        """Settles nothing: whatever is still open is settled by the ledger's reader as lost."""
        for timer in self._timers.values():
            timer.cancel()
        self.plane.tables.close()
        self.plane.metrics.save(self.plane.run_dir / f"metrics-{self.plane.worker}.json")
        self.ledger.close()
        self.traffic.close()
        if self._gossip is not None:
            self._gossip.close()
        self.account.close()

    def _clock(self) -> None:
        """Ticks the routers; looks at the snapshot file; spreads prefix news."""
        waiting = any(service.router.num_waiting for service in self.plane.tables.ticking())
        self._timers["clock"] = self._loop.call_later(BUSY_TICK_S if waiting else TICK_S, self._clock)
        now = time.monotonic()
        snapshot = self._file.changed()
        if snapshot is not None:
            self.plane.apply(snapshot)
            self.traffic.resize(snapshot.listen.traffic_log_bytes)
        self._read_reports()
        self.plane.tick()
        if self._gossip is not None:
            self._exchange_news(self._gossip, now)

    def _sweep(self) -> None:
        self._timers["sweep"] = self._loop.call_later(SWEEP_S, self._sweep)
        self.plane.sweep()
        self.traffic.flush()

    def _read_reports(self) -> None:
        """Hands the engines' own counts, as polled by the control plane, to the routers."""
        wall = time.time()
        for service in self.plane.tables.services.values():
            for slot in service.replicas:
                report = self.account.report(slot)
                if report is not None:
                    service.router.report(slot, report, wall)

    def _exchange_news(self, gossip: Gossip, now: float) -> None:
        """Tells the other workers what went where, and learns the same of theirs."""
        services = list(self.plane.tables.services.values())
        for service in services:
            for slot, blocks in service.router.drain_news():
                gossip.publish(slot, blocks)
        for news in gossip.poll():
            for service in services:
                if news.slot in service.replicas:
                    service.router.prefix_news(news.slot, news.blocks, now, removed=news.removed)

    async def _drain(self) -> None:
        """No new connections; requests under way get `drain_timeout_s`."""
        log.info("draining %d requests", len(self.plane.exchanges))
        self.plane.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.plane.connections):
            connection.drain()
        deadline = self._loop.time() + self.listen.drain_timeout_s
        while self.plane.connections and self._loop.time() < deadline:  # noqa: ASYNC110  a set, not an event
            await asyncio.sleep(0.02)
        for connection in list(self.plane.connections):
            connection.abort()
        await asyncio.sleep(0)


def _tls(listen: ListenEntry) -> ssl.SSLContext | None:
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listen.tls_cert, listen.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _first_snapshot(path: Path, patience_s: float = 30.0) -> Snapshot:
    """Waits for the control plane's first file. Raises TimeoutError."""
    file, deadline = SnapshotFile(path), time.monotonic() + patience_s
    while time.monotonic() < deadline:
        snapshot = file.changed()
        if snapshot is not None:
            return snapshot
        time.sleep(0.05)
    raise TimeoutError(f"no snapshot at {path} after {patience_s:g} s; is the control plane running?")


def _allow_many_files() -> None:
    """Each connection is a file: take what the system gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: list[str] | None = None) -> int:
    """Runs one worker until it is told to stop."""
    parser = argparse.ArgumentParser(prog="roadbed-gateway", description="One gateway worker of a Roadbed platform.")
    parser.add_argument("--home", type=Path, required=True, help="state directory")
    parser.add_argument("--index", type=int, required=True, help="number of this worker, from 0")
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home = Home(args.home)
    try:
        snapshot = _first_snapshot(home.snapshot)
    except TimeoutError as error:
        log.error("%s", error)
        return 1
    _allow_many_files()
    gc.set_threshold(20_000, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def serve() -> None:
            worker = Worker(home, args.index, asyncio.get_running_loop(), snapshot)
            try:
                await worker.run()
            finally:
                worker.close()

        runner.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
