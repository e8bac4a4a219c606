"""Loads the compiled hot path where there is one (scripts/compile.py), else nothing changes.

A compiled module stands in for its source only while that source is the one it was made from (same size and time of
change), and only all together: one edited file and everything runs from source again. ROADBED_PURE=1 asks for that.
"""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path

_HERE = Path(__file__).parent


class CompiledFinder:
    """Finds modules by full name among files."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """None for modules that were not compiled."""
        file = self._files.get(name)
        if file is None:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
        spec.has_location = True
        return spec


def fresh(folder: Path, source: Path) -> dict[str, str]:
    """Module name → file in `folder`, if its manifest fits this Python and the sources below `source`; else empty."""
    try:
        abi, *lines = (folder / "manifest").read_text().splitlines()
        if abi != EXTENSION_SUFFIXES[0]:
            return {}
        files = {}
        for line in lines:
            name, size, changed_ns = line.split()
            if size != "0":
                stat = (source / f"{name.replace('.', '/')}.py").stat()
                if (stat.st_size, stat.st_mtime_ns) != (int(size), int(changed_ns)):
                    return {}
            files[name] = str(folder / f"{name}.so")
    except (OSError, ValueError):  # nothing built, or half of it: the sources are always there
        return {}
    return files


def install() -> bool:
    """Puts the compiled modules first. True when there are any."""
    if os.environ.get("ROADBED_PURE"):
        return False
    files = fresh(_HERE / "_compiled", _HERE.parent)
    if files:
        sys.meta_path.insert(0, CompiledFinder(files))
    return bool(files)
