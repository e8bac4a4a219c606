"""The source as the house tests see it: parsed once, asked often."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "roadbed"
TESTS = ROOT / "tests"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file below src/roadbed."""

    name: str
    """Path below src/roadbed, such as router/core.py."""
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The top-level package; "" for files beside them."""
        return self.name.partition("/")[0] if "/" in self.name else ""

    @property
    def num_lines(self) -> int:
        return self.text.count("\n")

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every source file."""
    found = []
    for path in sorted(SRC.rglob("*.py")):
        text = path.read_text("utf-8")
        found.append(Module(str(path.relative_to(SRC)), text, ast.parse(text)))
    return tuple(found)


@functools.cache
def rooms() -> tuple[str, ...]:
    """Top-level packages."""
    return tuple(sorted(path.name for path in SRC.iterdir() if (path / "__init__.py").exists()))


def num_lines(node: ast.stmt) -> int:
    """Lines of a definition, decorators not counted."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
