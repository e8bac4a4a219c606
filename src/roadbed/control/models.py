"""Models as control sees them: what is here, what is being fetched, and background pulls that survive a slow network.

The model store itself shares one download among all processes; this only keeps threads for pulls and what they say.
"""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from roadbed.control.reconcilers.actions import ModelFact
from roadbed.control.state import ModelInfo
from roadbed.control.store import Store
from roadbed.control.store.event import append_event
from roadbed.errors import RoadbedError
from roadbed.models import catalogue
from roadbed.models.store import ModelFile, ModelStore, Progress, ProgressCallback

logger = logging.getLogger(__name__)

NUM_PULLS = 4


class Pull(msgspec.Struct):
    """A pull under way or over. Sizes in bytes."""

    phase: str = "waiting"
    done_bytes: int = 0
    total_bytes: int | None = None
    error: str = ""


class ModelJobs:
    """`state.ModelBook` over a real ModelStore. Thread-safe."""

    def __init__(self, models: ModelStore, store: Store) -> None:
        self._models = models
        self._store = store
        self._lock = threading.Lock()
        self._pulls: dict[str, Pull] = {}
        self._cancel = threading.Event()
        self._pool = ThreadPoolExecutor(NUM_PULLS, thread_name_prefix="pull")
        self._running: dict[str, Future[None]] = {}

    def fact(self, model: str) -> ModelFact:
        with self._lock:
            running = model in self._running
            pull = self._pulls.get(model)
        if running:
            return ModelFact(state="pulling")
        try:
            found = self._models.get(catalogue.resolve(model))
        except RoadbedError as error:
            return ModelFact(state="failed", message=error.message)
        if found is not None:
            return ModelFact(state="present", path=str(found.path))
        return ModelFact(state="failed", message=pull.error) if pull is not None and pull.error else ModelFact()

    def start_pull(self, model: str) -> None:
        """Begins fetching unless it is under way; a failed pull is begun again."""
        with self._lock:
            if model in self._running or self._cancel.is_set():
                return
            self._pulls[model] = Pull()
            self._running[model] = self._pool.submit(self._pull, model)

    def list_models(self) -> list[ModelInfo]:
        """The catalogue in its order, then what is here by other sources."""
        here = {found.source: found for found in self._models.list()}
        infos: list[ModelInfo] = []
        for entry in catalogue.entries():
            found = here.pop(str(catalogue.resolve(entry.name)), None)
            size = entry.size_bytes if found is None else found.size_bytes
            info = self._info(entry.name, entry.source, size, found)
            infos.append(msgspec.structs.replace(info, license=entry.license, num_parameters=entry.num_parameters))
        with self._lock:
            asked = [name for name in self._pulls if ":" in name and name not in here]
        infos += [self._info(source, source, found.size_bytes, found) for source, found in here.items()]
        return infos + [self._info(name, name, None, None) for name in asked]

    async def close(self) -> None:
        """Stops pulls; what was downloaded is kept for the next."""
        self._cancel.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _info(self, name: str, source: str, size_bytes: int | None, found: ModelFile | None) -> ModelInfo:
        with self._lock:
            pull = self._pulls.get(name, Pull())
            running = name in self._running
        state = "pulling" if running else "present" if found is not None else "failed" if pull.error else "absent"
        return ModelInfo(
            name=name,
            source=source,
            state=state,
            size_bytes=size_bytes,
            digest=None if found is None else found.digest,
            done_bytes=pull.done_bytes if running else 0,
            error="" if found is not None else pull.error,
        )

    def _pull(self, model: str) -> None:
        try:
            source = catalogue.resolve(model)
            self._models.pull(source, catalogue.expected_sha256(model), self._progress(model), self._cancel)
            self._tell(model, "model.pulled", "fetched and verified")
        except RoadbedError as error:
            with self._lock:
                self._pulls[model].error = error.message
            self._tell(model, "model.pull_failed", error.message)
        except Exception as error:  # the thread's last resort: told, logged, tried again by the reconciler
            logger.exception("pulling %s", model)
            with self._lock:
                self._pulls[model].error = f"{type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._running.pop(model, None)

    def _progress(self, model: str) -> ProgressCallback:
        def told(progress: Progress) -> None:
            with self._lock:
                pull = self._pulls[model]
                pull.phase, pull.done_bytes, pull.total_bytes = (
                    progress.phase,
                    progress.done_bytes,
                    progress.total_bytes,
                )

        return told

    def _tell(self, model: str, code: str, message: str) -> None:
        if self._cancel.is_set():
            return
        with self._store.write() as connection:
            append_event(connection, self._store.clock(), noun="model", name=model, code=code, message=message)
