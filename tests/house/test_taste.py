"""Patterns this house does not use, each with the few places that may, and why. The lists may only shrink."""

import ast
from collections.abc import Iterator

from tests.house.source import Module, dotted, modules

LATE_IMPORTS = {
    "hardware/probe.py": "pynvml is an optional extra (nvidia)",
    "engine/vllm_events.py": "zmq is an optional extra (kvevents)",
    "models/sources/s3.py": "obstore is an optional extra (objects)",
}
QUIET_CATCHES = {
    "cli/base.py": "the last line of defence: show_crash writes the traceback to a file",
    "control/reconcilers/loop.py": "note_failure logs it, counts it and makes an event of it",
}
LOGS = {"logger", "logging", "log", "_log"}
BLOCKING = {"time.sleep", "subprocess.run", "subprocess.check_output", "urllib.request.urlopen", "os.system"}


def test_no_print() -> None:
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    ]
    assert found == []


def test_imports_are_at_the_top() -> None:
    """The command line imports late, on purpose; nobody else does, except for optional extras."""
    found = {module.name for module in modules() if module.room != "cli" and any(_late_imports(module))}
    assert found == set(LATE_IMPORTS)


def _late_imports(module: Module) -> Iterator[ast.stmt]:
    for function in module.functions():
        yield from (node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


def test_no_error_is_swallowed() -> None:
    """Whoever catches everything raises again, logs, or is listed."""
    found = {module.name for module in modules() for handler in _catch_alls(module) if not _speaks(handler)}
    assert found == set(QUIET_CATCHES)


def test_no_bare_except() -> None:
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert found == []


def _catch_alls(module: Module) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if {dotted(kind) for kind in kinds} & {"Exception", "BaseException"}:
                yield node


def _speaks(handler: ast.ExceptHandler) -> bool:
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and dotted(node.func).partition(".")[0] in LOGS:
            return True
    return False


def test_no_silent_handler() -> None:
    """`except X: pass` says nothing to a reader: a comment must say why it is right."""
    found = []
    for module in modules():
        lines = module.text.splitlines()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and [type(part) for part in node.body] == [ast.Pass]:
                around = lines[node.lineno - 1 : node.body[0].lineno]
                if not any("#" in line for line in around):
                    found.append(f"{module.name}:{node.lineno}")
    assert found == []


def test_nothing_blocks_the_loop() -> None:
    found = [
        f"{module.name}:{call.lineno}"
        for module in modules()
        for function in module.functions()
        if isinstance(function, ast.AsyncFunctionDef)
        for call in _own_calls(function)
        if dotted(call.func) in BLOCKING
    ]
    assert found == []


def _own_calls(function: ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """Calls in the body itself: functions defined inside may run in a thread."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def test_times_have_zones() -> None:
    naive = {"datetime.now", "datetime.utcnow", "datetime.datetime.now", "datetime.datetime.utcnow"}
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in naive and not node.args and not node.keywords
    ]
    assert found == []


def test_core_touches_nothing_outside() -> None:
    """Decisions are pure (DESIGN §1)."""
    outside = {"secrets", "socket", "subprocess", "asyncio", "threading", "os"}
    found = [
        (module.name, name)
        for module in modules()
        if module.room in ("router", "billing")
        for node in ast.walk(module.tree)
        for name in _imported(node)
        if name.partition(".")[0] in outside
    ]
    assert found == []


def test_core_reads_no_clock() -> None:
    """Arithmetic on a given moment is fine."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        if module.room in ("router", "billing")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func).startswith("time.") and not node.args
    ]
    assert found == []


def test_chance_is_seeded() -> None:
    """`random.Random(seed)` that was handed over, never the module's own generator."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func).startswith("random.")
        if dotted(node.func) != "random.SystemRandom" and not (dotted(node.func) == "random.Random" and node.args)
    ]
    assert found == []


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
