"""A world for control to act on: processes that start, stop and die, engines that answer, models that come.

They implement the contracts (`runtime.base.Runtime`, `engine.base.EngineAdapter`, `state.ModelBook`) and keep their
rules; the store, the account, the snapshot and the ledger beside them are the real ones.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.reconcilers.actions import ModelFact
from roadbed.control.state import ModelInfo, Signals, State
from roadbed.control.store import Store
from roadbed.engine.base import Capacity, Endpoint, EngineFailure, LaunchRequest, LoadReport
from roadbed.errors import ConflictError, EngineError, NotFoundError
from roadbed.gateway.account import Account
from roadbed.hardware.machine import Machine
from roadbed.home import Home
from roadbed.runtime.base import ProcessSpec, ProcessStatus
from roadbed.spec.platform import PlatformConfig
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, VllmEngine

TOKEN = "test-admin-token"
NODE = Node(cpu=4.0, memory_bytes=8 * 2**30)
MACHINE = Machine(num_cpus=4, memory_mib=8192)
CAPACITY = Capacity(max_concurrency=4, kv_tokens=16384, context_tokens=4096, capabilities=("chat", "completions"))


class WorldRuntime:
    """Processes that are only records; `die` is what a kill -9 looks like from here."""

    def __init__(self, store: Store, logs: Path) -> None:
        self._store = store
        self._logs = logs
        self.specs: dict[str, ProcessSpec] = {}
        self.processes: dict[str, ProcessStatus] = {}

    async def start(self, spec: ProcessSpec) -> ProcessStatus:
        if spec.name in self.processes and self.processes[spec.name].state != "exited":
            raise ConflictError(f"{spec.name} runs already")
        path = self._logs / f"{spec.name}.log"
        path.write_text(f"{spec.name} begins\n")
        self.specs[spec.name] = spec
        status = ProcessStatus(
            name=spec.name,
            pid=len(self.specs) + 100,
            state="running",
            started_at=self._store.clock(),
            labels=spec.labels,
            log_path=str(path),
        )
        self.processes[spec.name] = status
        return status

    async def stop(self, name: str, *, grace_s: float | None = None) -> ProcessStatus:
        self._require(name)
        self.die(name, signal=15)
        return self.processes[name]

    async def list(self) -> list[ProcessStatus]:
        return list(self.processes.values())

    async def forget(self, name: str) -> None:
        self._require(name)
        del self.processes[name]

    async def log_tail(self, name: str, *, num_bytes: int = 16_384) -> bytes:
        path = self._logs / f"{name}.log"
        if not path.exists():
            raise NotFoundError(f"no log named {name}")
        return path.read_bytes()[-num_bytes:]

    def die(self, name: str, signal: int = 9) -> None:
        if self.processes[name].state != "exited":
            self.processes[name] = msgspec.structs.replace(
                self.processes[name], state="exited", exited_at=self._store.clock(), signal=signal
            )

    def _require(self, name: str) -> None:
        if name not in self.processes:
            raise NotFoundError(f"no process {name}")


class WorldEngines:
    """Every engine answers at once, unless told otherwise. Keyed by endpoint port."""

    def __init__(self) -> None:
        self.loading = False
        self.deaf = False
        self.busy = False
        self.refuses = ""
        self.num_tokens = 0

    def create(self, spec: LlamaCppEngine | VllmEngine | OpenAIEngine) -> "WorldAdapter":
        return WorldAdapter(self, spec)


class WorldAdapter:
    def __init__(self, world: WorldEngines, spec: LlamaCppEngine | VllmEngine | OpenAIEngine) -> None:
        self._world = world
        self._spec = spec
        self.kind = spec.kind

    def process(self, request: LaunchRequest) -> ProcessSpec | None:
        if self._world.refuses == "start":
            raise EngineError("the engine is not installed", hint="pip install engine")
        argv = ("engine", "--port", str(request.port), "--threads", str(request.threads), request.model_path)
        return ProcessSpec(name=request.replica, argv=argv, labels=request.labels)

    def endpoint(self, index: int, port: int) -> Endpoint:
        if isinstance(self._spec, OpenAIEngine):
            return Endpoint(host="far.example", port=8000 + index, tls=True, base_path="/v", api_key="sk-far")
        return Endpoint(host="127.0.0.1", port=port)

    async def ready(self, endpoint: Endpoint) -> Capacity | None:
        if self._world.refuses == "ready":
            raise EngineError("the model has an unknown architecture")
        return None if self._world.loading else CAPACITY

    async def load(self, endpoint: Endpoint) -> LoadReport:
        if self._world.deaf:
            raise TimeoutError("deaf")
        self._world.num_tokens += 50
        return LoadReport(num_running=1, num_waiting=2, kv_usage=0.25, num_tokens_total=self._world.num_tokens)

    async def drain(self, endpoint: Endpoint) -> bool:
        return not self._world.busy

    def explain_exit(self, log_tail: str, exit_code: int | None, signal: int | None) -> EngineFailure:
        return EngineFailure(reason="oom", message=f"last words: {log_tail.strip()}", hint="give it memory")


class WorldModels:
    """Every model is here, unless it is in `absent`; a pull brings it at once."""

    def __init__(self) -> None:
        self.absent: set[str] = set()
        self.pulled: list[str] = []

    def fact(self, model: str) -> ModelFact:
        return ModelFact() if model in self.absent else ModelFact(state="present", path=f"/models/{model}")

    def start_pull(self, model: str) -> None:
        self.pulled.append(model)
        self.absent.discard(model)

    def list_models(self) -> list[ModelInfo]:
        return [ModelInfo(name="m", source="file:/m", state="present", size_bytes=3)]

    async def close(self) -> None:
        return None


class World:
    """A State and its surroundings."""

    def __init__(self, store: Store, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        home.create()
        self.store = store
        self.runtime = WorldRuntime(store, home.logs)
        self.engines = WorldEngines()
        self.models = WorldModels()
        self.state = State(
            home=home,
            config=PlatformConfig(),
            store=store,
            token=TOKEN,
            runtime=self.runtime,
            models=self.models,
            create_engine=self.engines.create,
            node=NODE,
            pool=LivePool([node_info(NODE, MACHINE, "local")]),
            signals=Signals(store, loop),
            account=Account(home.account, num_workers=2),
            gateway_port=8000,
        )

    def close(self) -> None:
        self.state.signals.close()
        if self.state.account is not None:
            self.state.account.close()


@asynccontextmanager
async def world_of(store: Store, root: Path) -> AsyncIterator[World]:
    """A world inside a running loop; its background work is awaited at the end."""
    world = World(store, Home(root / "home"), asyncio.get_running_loop())
    try:
        yield world
    finally:
        await asyncio.gather(*world.state.background)
        world.close()
