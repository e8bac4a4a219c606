"""What users rely on, frozen: a change here is a decision, written down with `make docs`."""

import importlib.util
from types import ModuleType

import pytest

from tests.house.source import ROOT


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
WANTED = SCRIPT.everything()


@pytest.mark.parametrize("path", WANTED, ids=lambda path: path.name)
def test_what_is_written_is_what_the_code_says(path: object) -> None:
    assert path.read_text("utf-8") == WANTED[path], "run: make docs"  # type: ignore[attr-defined]


def test_no_page_is_left_over() -> None:
    owned = set(WANTED)
    there = {*SCRIPT.SURFACES.glob("*"), *SCRIPT.REFERENCE.glob("*.md")}
    assert there - owned == set()


def test_every_variable_is_documented() -> None:
    assert SCRIPT.variables() == set(SCRIPT.VARIABLES)


def test_every_command_says_what_its_options_do() -> None:
    found = [
        f"{context.command_path} {option.name}"
        for context, command in SCRIPT.commands()
        for option in command.params
        if isinstance(option, SCRIPT.click.Option) and not option.help
    ]
    assert found == []


def test_commands_with_data_speak_json() -> None:
    talkers = {"roadbed", "roadbed down", "roadbed logs", "roadbed schema", "roadbed twin", "roadbed fabric"}
    """Help, talk only, text as it was written, JSON already."""
    silent = {
        context.command_path
        for context, command in SCRIPT.commands()
        if not any("--json" in getattr(option, "opts", ()) for option in command.params)
    }
    assert silent == talkers
