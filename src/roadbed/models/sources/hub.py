"""Hugging Face and ModelScope, through their own clients in a process of their own.

The clients resume partial files by themselves when they find them in the folder they are told to fill; a process of
its own can be killed when the user cancels, and keeps their heavy imports out of the control plane.
"""

import importlib.util
import sys
from pathlib import Path

from roadbed.errors import ModelSourceError
from roadbed.models.sources import child
from roadbed.models.sources.base import HubSource, Report

_CLIENTS = {"hf": "huggingface_hub", "modelscope": "modelscope"}
_SCRIPTS = {
    "hf": """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
repo, revision, file, folder = sys.argv[1:]
if file:
    hf_hub_download(repo, file, revision=revision or None, local_dir=folder)
else:
    snapshot_download(repo, revision=revision or None, local_dir=folder)
""",
    "modelscope": """
import sys
from modelscope import snapshot_download
from modelscope.hub.file_download import model_file_download
repo, revision, file, folder = sys.argv[1:]
if file:
    model_file_download(repo, file, revision=revision or None, local_dir=folder)
else:
    snapshot_download(repo, revision=revision or None, local_dir=folder)
""",
}
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_LEFTOVERS = (".cache", "._____temp", ".mdl", ".msc", ".mv")


def fetch(source: HubSource, staging: Path, report: Report) -> Path:
    """See sources.fetch. Raises ModelSourceError naming the extra when the client is not installed."""
    client = _CLIENTS[source.hub]
    if importlib.util.find_spec(client) is None:
        raise ModelSourceError(
            f"{source} needs the package {client.replace('_', '-')}", hint=f"pip install 'roadbed[{source.hub}]'"
        )
    folder = staging / "repo"
    folder.mkdir(exist_ok=True)
    argv = [
        sys.executable,
        "-c",
        _SCRIPTS[source.hub],
        source.repo,
        source.revision or "",
        source.file or "",
        str(folder),
    ]
    try:
        child.run(argv, folder, report, _QUIET)
    except ModelSourceError as error:
        raise ModelSourceError(f"{source}: {error.message}", hint=f"roadbed models pull {source}") from error
    if source.file is None:
        return folder
    found = folder / source.file
    if not found.is_file():
        raise ModelSourceError(f"{source}: the client said it succeeded, but there is no {source.file}")
    return found


def is_leftover(relative: Path) -> bool:
    """Bookkeeping the clients leave in the folder; no part of the model."""
    return relative.parts[0] in _LEFTOVERS
