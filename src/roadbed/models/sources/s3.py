"""One object of an S3-compatible store, through obstore; resumes at the byte where it stopped.

Endpoint, region and keys come from the AWS_* environment variables obstore reads. The object's ETag is kept beside the
partial file: if the object changed meanwhile, the partial file is worth nothing and the download starts again.
"""

from pathlib import Path
from typing import Any

from roadbed.errors import ModelSourceError
from roadbed.models.sources.base import Report, S3Source

PART_BYTES = 8 * 2**20


def fetch(source: S3Source, staging: Path, report: Report) -> Path:
    """See sources.fetch. Raises ModelSourceError naming the extra when obstore is not installed."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise ModelSourceError(f"{source} needs the package obstore", hint="pip install 'roadbed[objects]'") from error
    try:
        return fetch_object(S3Store(source.bucket), source.key, staging, report)
    except _errors() as error:
        sentence = " ".join(str(error).split())[:300]
        raise ModelSourceError(f"{source}: {sentence}", hint="env | grep AWS_   # endpoint, region, keys") from error


def fetch_object(store: Any, key: str, staging: Path, report: Report) -> Path:
    """Brings one object of any obstore store into staging/file/NAME."""
    import obstore

    meta = obstore.head(store, key)
    size, tag = int(meta["size"]), str(meta.get("e_tag") or "")
    target = staging / "file" / Path(key).name
    target.parent.mkdir(exist_ok=True)
    tag_file = staging / "etag"
    if not tag or not tag_file.exists() or tag_file.read_text() != tag:
        target.unlink(missing_ok=True)
        tag_file.write_text(tag)
    with target.open("ab") as out:
        done = out.tell()
        if done > size:
            out.truncate(0)
            done = 0
        while done < size:
            report(done, size)
            out.write(bytes(obstore.get_range(store, key, start=done, end=min(size, done + PART_BYTES))))
            out.flush()
            done = out.tell()
    report(done, size)
    return target


def _errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return (BaseError, OSError)
