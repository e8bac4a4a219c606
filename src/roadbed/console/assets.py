"""Style and scripts: a handful of files read once, served under a path that names their content.

`/console/static/<digest>/console.js` may be kept for ever, because another content has another path; relative imports
between the scripts stay inside the same digest.
"""

import hashlib
from importlib.resources import files

from fastapi import HTTPException
from starlette.responses import Response

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


class Assets:
    """The files of `console/static`, in memory."""

    def __init__(self) -> None:
        folder = files("roadbed.console") / "static"
        found = sorted(folder.iterdir(), key=lambda file: file.name)
        self._content = {file.name: file.read_bytes() for file in found if file.name.rpartition(".")[2] in _TYPES}
        digest = hashlib.sha256()
        for name, content in self._content.items():
            digest.update(f"{name}:{len(content)}:".encode() + content)
        self.digest = digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Where a page finds a file. Raises KeyError for a file that is not there."""
        return f"/console/static/{self.digest}/{self._require(name)}"

    def response(self, digest: str, name: str) -> Response:
        """The file; of another digest it is given too (an old page asks), but not kept. Raises 404."""
        content = self._content.get(name)
        if content is None:
            raise HTTPException(404, f"there is no {name[:80]!r}")
        kept = "public, max-age=31536000, immutable" if digest == self.digest else "no-store"
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers={"cache-control": kept})

    def _require(self, name: str) -> str:
        if name not in self._content:
            raise KeyError(name)
        return name
