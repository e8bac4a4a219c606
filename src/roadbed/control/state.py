"""What one control process holds: the open store, the ways out (runtime, engines, models), and what lives in memory.

Memory holds only what can be learned again: load reports, health counts, wake-ups. Everything else is in the store.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import psutil

from roadbed.control.placement import Node
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.actions import ModelFact
from roadbed.control.scaling import Decided
from roadbed.control.store import Store, Topic
from roadbed.engine.base import EngineAdapter, LoadReport
from roadbed.gateway.account import Account
from roadbed.home import Home
from roadbed.runtime.base import Runtime
from roadbed.spec.platform import NodeConfig, PlatformConfig
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, VllmEngine

EngineFactory = Callable[[LlamaCppEngine | VllmEngine | OpenAIEngine], EngineAdapter]


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the catalogue, or one that is here by its source."""

    name: str
    source: str
    state: str
    size_bytes: int | None = None
    digest: str | None = None
    license: str | None = None
    num_parameters: int | None = None
    done_bytes: int = 0
    error: str = ""


class ModelBook(Protocol):
    """The model store as control needs it; see `control/models.py`."""

    def fact(self, model: str) -> ModelFact: ...
    def start_pull(self, model: str) -> None:
        """Begins fetching in the background, unless it is under way. Never raises; the fact tells."""
        ...

    def list_models(self) -> list[ModelInfo]: ...
    async def close(self) -> None: ...


class LoadSample(msgspec.Struct, frozen=True, kw_only=True):
    """A load report and the generation speed since the one before."""

    at: float
    report: LoadReport
    tokens_per_s: float = 0.0


class Signals:
    """Wakes loops when the store changes. Store commits happen in threads; events are set in the loop."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, tuple[frozenset[Topic], asyncio.Event]] = {}
        self._unsubscribe = store.subscribe(self._changed)

    def listen(self, name: str, *topics: Topic) -> asyncio.Event:
        """An event set at each commit of one of the topics; whoever waits clears it."""
        event = asyncio.Event()
        self._waiting[name] = (frozenset(topics), event)
        return event

    def forget(self, name: str) -> None:
        self._waiting.pop(name, None)

    def close(self) -> None:
        self._unsubscribe()

    def _changed(self, topic: Topic) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fire, topic)

    def _fire(self, topic: Topic) -> None:
        for topics, event in self._waiting.values():
            if topic in topics:
                event.set()


@dataclass
class State:
    """Everything the services, reconcilers and routers share. Built once by `main.py`, or by a test."""

    home: Home
    config: PlatformConfig
    store: Store
    token: str
    runtime: Runtime
    models: ModelBook
    create_engine: EngineFactory
    node: Node
    pool: LivePool
    """The scheduler of this platform."""
    signals: Signals
    account: Account | None = None
    gateway_port: int = 0
    """The port gateways really listen on (config may say 0)."""
    loads: dict[str, deque[LoadSample]] = field(default_factory=dict)
    """Recent load samples by replica id, newest last."""
    scaling: dict[str, Decided] = field(default_factory=dict)
    """What the autoscaler of a service last said, by service."""
    hung: set[str] = field(default_factory=set)
    """Replicas that failed too many health checks in a row."""
    background: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Awaitable[None], name: str) -> None:
        """Runs `work` beside the loops; it must handle its own errors."""
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        task.set_name(name)
        self.background.add(task)
        task.add_done_callback(self.background.discard)


def probe_node(config: NodeConfig) -> Node:
    """What of this machine may be handed out: the config, else the cores this process may use and the memory."""
    cpu = float(len(os.sched_getaffinity(0))) if config.cpu is None else config.cpu
    memory = psutil.virtual_memory().total if config.memory is None else config.memory
    return Node(cpu=cpu, memory_bytes=memory)
