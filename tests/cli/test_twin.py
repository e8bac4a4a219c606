"""The group: its commands, and that help stays light."""

import sys

from roadbed.cli.twin import TWINS, command
from tests.cli.conftest import Shell
from tests.cli.test_startup import HEAVY, imported


def test_help_lists_every_command_and_imports_none(shell: Shell) -> None:
    said = shell("twin", "--help")
    assert said.code == 0
    assert all(f"  {name} " in said.out for name in TWINS)
    assert imported(shell, "twin", "--help") & (HEAVY | {"msgspec"}) == set()


def test_every_listed_command_exists(shell: Shell) -> None:
    for name in TWINS:
        found = command.get_command(None, name)  # type: ignore[arg-type]
        assert found is not None
        assert found.name == name
        assert f"roadbed.cli.twin_{name.replace('-', '_')}" in sys.modules


def test_unknown_commands_are_usage_errors(shell: Shell) -> None:
    said = shell("twin", "shedule")
    assert said.code == 2
    assert "No such command 'shedule'" in said.err
