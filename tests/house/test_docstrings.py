"""What others call says what it promises.

Every module says its idea. Outside the command line (whose help is its documentation) a public class or function says
its contract, unless there is nothing to say: a record of fields, a body that is shorter than its docstring would be, or
a method whose contract is written in the protocol or base it implements.
"""

import ast
import asyncio
from collections.abc import Iterator

from tests.house.source import Function, Module, dotted, modules, num_lines

SHORT_LINES = 8
MIGRATIONS = "control/migrations/"
"""Alembic's own form; released ones are never edited."""
HTTPTOOLS = {
    "on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_chunk_header", "on_chunk_complete",
    "on_message_complete", "on_status",
}  # fmt: skip
RECORDS = {"Struct", "msgspec.Struct", "BaseModel", "NamedTuple", "Spec", "View", "Protocol"}


def test_every_module_says_its_idea() -> None:
    found = [module.name for module in modules() if module.tree.body and ast.get_docstring(module.tree) is None]
    assert found == []


def test_what_others_call_says_what_it_promises() -> None:
    promised = _contracts()
    found = [
        f"{module.name}: {name}"
        for module in modules()
        if module.room != "cli" and not module.name.startswith(MIGRATIONS)
        for name, node in _public(module)
        if ast.get_docstring(node) is None and not _plain(node) and node.name not in promised
    ]
    assert found == []


def test_every_protocol_says_what_it_is_for() -> None:
    """The exemption above is no hole: the contract is written where it is declared."""
    found = [
        f"{module.name}: {node.name}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and _is_protocol(node) and ast.get_docstring(node) is None
    ]
    assert found == []


def _public(module: Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    named = [node for node in module.tree.body if isinstance(node, Function | ast.ClassDef)]
    alone = sum(not node.name.startswith("_") for node in named) == 1
    for node in named:
        if not node.name.startswith("_"):
            if not alone:  # the only public name of a module is what the module's docstring is about
                yield node.name, node
            if isinstance(node, ast.ClassDef) and not _is_protocol(node):
                for member in node.body:
                    if isinstance(member, Function) and not member.name.startswith("_"):
                        yield f"{node.name}.{member.name}", member


def _plain(node: Function | ast.ClassDef) -> bool:
    if isinstance(node, ast.ClassDef):
        bases = {dotted(base) for base in node.bases}
        only_fields = all(isinstance(part, ast.AnnAssign | ast.Expr) for part in node.body)
        return (
            only_fields
            or bool(bases & RECORDS)
            or any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
        )
    return num_lines(node) <= SHORT_LINES


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(
        dotted(base).rpartition(".")[2] == "Protocol" and dotted(base) != "asyncio.Protocol" for base in node.bases
    )


def _contracts() -> set[str]:
    """Methods whose contract stands elsewhere: in our protocols, in asyncio's, in the parser's."""
    found = {
        name for name in vars(asyncio.Protocol) | vars(asyncio.BaseProtocol) if not name.startswith("_")
    } | HTTPTOOLS
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and _is_protocol(node):
                found |= {member.name for member in node.body if isinstance(member, Function)}
    return found
