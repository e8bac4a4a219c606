"""A command line that is slow to start is not used: what the light commands import is fixed here."""

import json
import resource
import subprocess
import sys

import pytest

from roadbed.cli import COMMANDS, GROUPS, HIDDEN
from tests.cli.conftest import Shell

HEAVY = {
    "pydantic", "numpy", "scipy", "sqlalchemy", "alembic", "fastapi", "starlette", "uvicorn", "rich", "jinja2", "yaml",
    "asyncio", "uvloop", "psutil", "xllamacpp",
}  # fmt: skip
CPU_LIMIT_S = 0.25
"""Twice the budget of DESIGN §6 (120 ms): a busy machine must not fail the suite, an import of pydantic must."""

PROBE = """
import json, sys
from roadbed.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
sys.stderr.write("MODULES" + json.dumps([code, sorted(sys.modules)]))
"""


def imported(shell: Shell, *args: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args], capture_output=True, text=True, env=shell.environment(), timeout=60
    )
    code, modules = json.loads(done.stderr.rpartition("MODULES")[2])
    assert code == 0, done.stderr
    return {name.partition(".")[0] for name in modules} | {name for name in modules if name.startswith("roadbed")}


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("ps", "--help"), ("chat", "--help")])
def test_help_imports_nothing_heavy(shell: Shell, args: tuple[str, ...]) -> None:
    found = imported(shell, *args)
    assert found & (HEAVY | {"msgspec"}) == set()


def test_help_imports_no_command(shell: Shell) -> None:
    found = imported(shell, "--help")
    assert {name for name in found if name.startswith("roadbed.")} == {
        "roadbed._native", "roadbed.cli", "roadbed.cli.base", "roadbed.errors", "roadbed.home",
    }  # fmt: skip


@pytest.mark.e2e
def test_ps_needs_only_the_client(platform: Shell) -> None:
    found = imported(platform, "ps")
    assert found & (HEAVY | {"msgspec"}) == set()
    assert {name for name in found if name.startswith("roadbed.")} == {
        "roadbed._native", "roadbed.cli", "roadbed.cli.base", "roadbed.cli.ps", "roadbed.control",
        "roadbed.control.client", "roadbed.errors", "roadbed.home",
    }  # fmt: skip


def test_help_costs_little(shell: Shell) -> None:
    assert shell("--help").code == 0  # bytecode is written now
    used = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert shell("--help").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(used) < CPU_LIMIT_S


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, *HIDDEN])
def test_every_command_has_help(shell: Shell, name: str) -> None:
    said = shell(name, "--help")
    assert said.code == 0
    assert f"Usage: roadbed {name}" in said.out


def test_a_slip_is_answered_with_the_command_meant(shell: Shell) -> None:
    said = shell("explian")
    assert said.code == 2
    assert said.err == "error[E_USAGE]: No such command 'explian'. Did you mean 'explain'?\nhint: roadbed --help\n"


def test_nothing_at_all_shows_the_help(shell: Shell) -> None:
    said = shell()
    assert said.code == 2
    assert "roadbed up" in said.err
