"""The group: its commands, and that help stays light."""

from roadbed.cli.fabric import FABRICS, command
from tests.cli.conftest import Shell
from tests.cli.test_startup import HEAVY, imported


def test_help_lists_every_command_and_imports_none(shell: Shell) -> None:
    said = shell("fabric", "--help")
    assert said.code == 0
    assert all(f"  {name} " in said.out for name in FABRICS)
    assert imported(shell, "fabric", "--help") & (HEAVY | {"msgspec", "numpy"}) == set()


def test_every_listed_command_exists() -> None:
    for name in FABRICS:
        found = command.get_command(None, name)  # type: ignore[arg-type]
        assert found is not None
        assert found.name == name


def test_unknown_commands_are_usage_errors(shell: Shell) -> None:
    said = shell("fabric", "shwo")
    assert said.code == 2
    assert "No such command 'shwo'" in said.err
