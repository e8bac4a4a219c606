"""The model store: every model once, named by the SHA-256 of its bytes.

    blobs/sha256-<hex>/<file>    a model file under its own name (engines look at suffixes), or a repository's files
    refs/<id>.json               source → digest, size, path; <id> is a hash of the source's text
    staging/<id>/                what a download has so far; survives a crash, so that the next pull goes on with it
    locks/<id>.lock              held while a source is fetched: other processes wait and share the result

Nothing appears under blobs/ before it is complete, verified and on disk (fsync, then rename). `file:` sources are used
in place and only hashed; copying somebody's 40 GB to own them would serve nobody.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from roadbed.errors import ConflictError, ModelSourceError, NotFoundError
from roadbed.models import sources
from roadbed.models.digest import file_digest, folder_digest, folder_files
from roadbed.models.sources import FileSource, HubSource, Source
from roadbed.models.sources.child import folder_bytes

LOCK_POLL_S = 0.1


class Progress(msgspec.Struct, frozen=True):
    """waiting: another process fetches it; download; verify: hashing what came."""

    phase: Literal["waiting", "download", "verify"]
    done_bytes: int
    total_bytes: int | None
    """None = not known (yet)."""


ProgressCallback = Callable[[Progress], None]


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is here."""

    source: str
    path: Path
    """A file, or a folder for a whole repository."""
    digest: str
    """sha256:<hex>; of a folder: over its sorted paths and file digests."""
    size_bytes: int
    modified_ns: int = 0
    """Of a `file:` source, to notice that it changed."""


_encoder = msgspec.json.Encoder(enc_hook=str)
_decoder = msgspec.json.Decoder(ModelFile, dec_hook=lambda kind, value: kind(value))


class Cancelled(ModelSourceError):
    """The caller asked to stop; what was downloaded so far is kept."""


class ModelStore:
    """Safe for many processes and threads; all calls block (run them in a thread)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pull(
        self,
        source: Source,
        sha256: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> ModelFile:
        """The model, fetched unless it is here. `sha256` (hex) is what its bytes must hash to.

        Raises ModelSourceError (unreachable, wrong bytes, disk full) and Cancelled. Pulling the same source twice at
        once, in any processes, downloads it once.
        """

        def tell(phase: Literal["waiting", "download", "verify"], done: int, total: int | None) -> None:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{source}: cancelled", hint=f"roadbed models pull {source}")
            if progress is not None:
                progress(Progress(phase, done, total))

        try:
            found = self.get(source)
            if found is not None and _matches(found, sha256):
                return found
            with self._locked(source, tell):
                found = self.get(source)
                if found is None or not _matches(found, sha256):
                    found = self._obtain(source, sha256, tell)
                return found
        except OSError as error:
            hint = f"df -h {self.root}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"ls -ld {self.root}"
            raise ModelSourceError(f"{source}: the model store failed: {error}", hint=hint) from error

    def get(self, source: Source) -> ModelFile | None:
        """What is here of a source, without fetching. None too when a file: source changed since it was hashed."""
        found = self._read_ref(self._ref(source))
        if found is None or not found.path.exists():
            return None
        if isinstance(source, FileSource) and _modified_ns(found.path) != found.modified_ns:
            return None
        if found.path.is_file() and found.path.stat().st_size != found.size_bytes:
            return None
        return found

    def list(self) -> list[ModelFile]:
        """All models here, by source."""
        found = [self._read_ref(path) for path in (self.root / "refs").glob("*.json")]
        return sorted((model for model in found if model is not None and model.path.exists()), key=lambda m: m.source)

    def remove(self, source: Source) -> int:
        """Forgets a source and deletes bytes nobody else names; returns the bytes freed. Raises NotFoundError,
        ConflictError while it is being fetched."""
        if not self._ref(source).exists() and not self._staging(source).exists():
            raise NotFoundError(f"no model {source} in the store", hint="roadbed models")
        with self._try_lock(source):
            self._ref(source).unlink(missing_ok=True)
            freed = folder_bytes(self._staging(source))
            shutil.rmtree(self._staging(source), ignore_errors=True)
        return freed + self.collect_garbage()

    def collect_garbage(self) -> int:
        """Deletes blobs no source names; returns the bytes freed."""
        freed = 0
        with self._whole_store(fcntl.LOCK_EX):
            wanted = {_hex(model.digest) for model in self.list()}
            for blob in (self.root / "blobs").glob("sha256-*"):
                if blob.name.removeprefix("sha256-") not in wanted:
                    freed += folder_bytes(blob)
                    shutil.rmtree(blob)
        return freed

    def _obtain(self, source: Source, sha256: str | None, tell: Callable[..., None]) -> ModelFile:
        if isinstance(source, FileSource):
            model = self._adopt(source, sha256, tell)
            self._write_ref(source, model)
            return model
        self._discard_damaged(source)
        with self._whole_store(fcntl.LOCK_SH):
            if sha256 is not None and (blob := self._blob(sha256)).is_dir():
                model = _describe(str(source), _content(blob, source), sha256)  # the same bytes came from elsewhere
                self._write_ref(source, model)
                return model
        return self._download(source, sha256, tell)

    def _discard_damaged(self, source: Source) -> None:
        """A file that lost bytes on disk must not stand in the way of the good one."""
        known = self._read_ref(self._ref(source))
        if known is not None and known.path.is_file() and known.path.stat().st_size != known.size_bytes:
            shutil.rmtree(self._blob(known.digest), ignore_errors=True)

    def _adopt(self, source: FileSource, sha256: str | None, tell: Callable[..., None]) -> ModelFile:
        path = Path(source.path)
        if not path.exists():
            raise ModelSourceError(f"{source}: there is no such file", hint=f"ls -l {path.parent}")
        modified_ns = _modified_ns(path)
        digest = _digest(path, tell)
        _check(source, digest, sha256)
        return msgspec.structs.replace(_describe(str(source), path, digest), modified_ns=modified_ns)

    def _download(self, source: Source, sha256: str | None, tell: Callable[..., None]) -> ModelFile:
        assert not isinstance(source, FileSource)
        staging = self._staging(source)
        staging.mkdir(parents=True, exist_ok=True)
        fetched = sources.fetch(source, staging, lambda done, total: tell("download", done, total))
        digest = _digest(fetched, tell)
        try:
            _check(source, digest, sha256)
        except ModelSourceError:
            shutil.rmtree(staging)
            raise
        with self._whole_store(fcntl.LOCK_SH):
            model = _describe(str(source), self._publish(source, fetched, digest), digest)
            self._write_ref(source, model)
        shutil.rmtree(staging, ignore_errors=True)
        return model

    def _publish(self, source: Source, fetched: Path, digest: str) -> Path:
        """Moves verified bytes to their name in one rename."""
        blob = self._blob(digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            with tempfile.TemporaryDirectory(prefix=".new-", dir=blob.parent) as holder:
                ready = Path(holder) / "content"
                if fetched.is_dir():
                    for path in folder_files(fetched):
                        target = ready / path.relative_to(fetched)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        path.replace(target)
                        _sync(target)
                else:
                    ready.mkdir()
                    fetched.replace(ready / fetched.name)
                    _sync(ready / fetched.name)
                try:
                    ready.rename(blob)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise  # else: another source with the same bytes was faster
            _sync(blob.parent)
        return _content(blob, source)

    def _write_ref(self, source: Source, model: ModelFile) -> None:
        ref = self._ref(source)
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        fresh.write_bytes(_encoder.encode(model))
        _sync(fresh)
        fresh.replace(ref)
        _sync(ref.parent)

    def _read_ref(self, path: Path) -> ModelFile | None:
        try:
            return _decoder.decode(path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # a torn or foreign file is no reference; the next pull writes it anew

    @contextlib.contextmanager
    def _locked(self, source: Source, tell: Callable[..., None]) -> Iterator[None]:
        fd = self._open_lock(_id(source))
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    tell("waiting", folder_bytes(self._staging(source)), None)
                    time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _whole_store(self, kind: int) -> Iterator[None]:
        """Shared while a blob gets its first reference, exclusive while unreferenced blobs are deleted."""
        fd = self._open_lock("store")
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _try_lock(self, source: Source) -> Iterator[None]:
        fd = self._open_lock(_id(source))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ConflictError(f"{source} is being fetched at the moment", hint="roadbed models") from None
        finally:
            os.close(fd)

    def _open_lock(self, name: str) -> int:
        path = self.root / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _ref(self, source: Source) -> Path:
        return self.root / "refs" / f"{_id(source)}.json"

    def _staging(self, source: Source) -> Path:
        return self.root / "staging" / _id(source)

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / f"sha256-{_hex(digest)}"


def _id(source: Source) -> str:
    return hashlib.sha256(str(source).encode()).hexdigest()[:32]


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def _matches(model: ModelFile, sha256: str | None) -> bool:
    return sha256 is None or _hex(model.digest) == _hex(sha256)


def _check(source: Source, digest: str, sha256: str | None) -> None:
    if sha256 is not None and _hex(digest) != _hex(sha256):
        raise ModelSourceError(
            f"{source} is not what it should be: expected sha256:{_hex(sha256)}, got {digest}",
            hint="check the source and its pinned sha256; the bytes were deleted",
        )


def _digest(path: Path, tell: Callable[..., None]) -> str:
    def report(done: int, total: int | None) -> None:
        tell("verify", done, total)

    return folder_digest(path, report) if path.is_dir() else file_digest(path, report)


def _describe(source: str, path: Path, digest: str) -> ModelFile:
    size = folder_bytes(path) if path.is_dir() else path.stat().st_size
    return ModelFile(source=source, path=path, digest=f"sha256:{_hex(digest)}", size_bytes=size)


def _content(blob: Path, source: Source) -> Path:
    """The one file of a blob, or the blob itself when the source is a repository."""
    if isinstance(source, HubSource) and source.file is None:
        return blob
    return next(blob.iterdir())


def _modified_ns(path: Path) -> int:
    files = folder_files(path) if path.is_dir() else [path]
    return max((file.stat().st_mtime_ns for file in files), default=0)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
