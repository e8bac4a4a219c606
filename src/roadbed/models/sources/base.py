"""What a source is, and the strict parser of its text."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from roadbed.errors import UsageError

Report = Callable[[int, int | None], None]
"""Bytes so far, bytes in all (None = unknown). Raises to cancel."""

FORMS = "pypi:PKG==VER/PATH, file:/PATH, hf:ORG/REPO[@REV][/FILE], modelscope:ORG/REPO[@REV][/FILE], s3://BUCKET/KEY"
MAX_CHARS = 2000

_PYPI = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.+!_-]+)/(?P<member>.+)"
)
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>.+))?", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class PypiSource(msgspec.Struct, frozen=True):
    package: str
    version: str
    member: str
    """Path inside the wheel."""

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}/{self.member}"


class FileSource(msgspec.Struct, frozen=True):
    path: str
    """Absolute."""

    def __str__(self) -> str:
        return f"file:{self.path}"


class HubSource(msgspec.Struct, frozen=True):
    hub: Literal["hf", "modelscope"]
    repo: str
    revision: str | None
    file: str | None
    """None = the whole repository."""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.hub}:{self.repo}{revision}" + (f"/{self.file}" if self.file else "")


class S3Source(msgspec.Struct, frozen=True):
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


Source = PypiSource | FileSource | HubSource | S3Source


def parse(text: str) -> Source:
    """Raises UsageError naming what is wrong and the forms there are. `parse(str(source)) == source`."""
    kind, colon, rest = text.partition(":")
    if not colon or len(text) > MAX_CHARS or any(not char.isprintable() for char in text):
        raise _wrong(text, "is not a model source")
    match kind:
        case "pypi":
            return _parse_pypi(text, rest)
        case "file":
            return _parse_file(text, rest)
        case "hf" | "modelscope":
            return _parse_hub(text, kind, rest)
        case "s3":
            return _parse_s3(text, rest)
    raise _wrong(text, f"names an unknown kind of source {kind!r}")


def _parse_pypi(text: str, rest: str) -> PypiSource:
    match = _PYPI.fullmatch(rest)
    if match is None:
        raise _wrong(text, "must be pypi:PKG==VERSION/PATH/IN/WHEEL")
    _check_path(text, match["member"])
    return PypiSource(match["package"], match["version"], match["member"])


def _parse_file(text: str, rest: str) -> FileSource:
    path = re.sub(r"^//(?=/)", "", rest)
    if not path.startswith("/") or path.startswith("//"):
        raise _wrong(text, "must be file: and an absolute path")
    _check_path(text, path.strip("/") or "..")
    return FileSource(path.rstrip("/"))


def _parse_hub(text: str, hub: Literal["hf", "modelscope"], rest: str) -> HubSource:
    match = _HUB.fullmatch(rest)
    if match is None or {".", ".."} & set(match["repo"].split("/")):
        raise _wrong(text, f"must be {hub}:ORG/REPO[@REVISION][/FILE]")
    if match["file"] is not None:
        _check_path(text, match["file"])
    return HubSource(hub, match["repo"], match["revision"], match["file"])


def _parse_s3(text: str, rest: str) -> S3Source:
    bucket, _, key = rest.removeprefix("//").partition("/")
    if not _BUCKET.fullmatch(bucket) or not key:
        raise _wrong(text, "must be s3://BUCKET/KEY")
    if key.endswith("/"):
        raise _wrong(text, "names a folder; name one file")
    _check_path(text, key)
    return S3Source(bucket, key)


def _check_path(text: str, path: str) -> None:
    """Plain relative paths only: nothing may climb out of where we put it."""
    if any(part in ("", ".", "..") for part in path.split("/")) or PurePosixPath(path).is_absolute():
        raise _wrong(text, f"has a path that is not plain: {path!r}")


def _wrong(text: str, sentence: str) -> UsageError:
    return UsageError(f"{text[:200]!r} {sentence}", hint=f"forms: {FORMS}", field="model")
