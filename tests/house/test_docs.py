"""Pages that can't drift: rooms have one, it is short, and what it shows works."""

import re
import subprocess
from pathlib import Path

import pytest

from roadbed.fabric import prices, recipe
from roadbed.spec.load import load_config, load_text
from roadbed.spec.schema import MODELS
from tests.house.source import ROOT, rooms

DESIGN = ROOT / "docs" / "design"
MAX_PAGE_LINES = 200
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every fenced block of a language."""
    found = []
    for page in PAGES:
        for match in _BLOCK.finditer(page.read_text("utf-8")):
            if match[1] == language:
                found.append((str(page.relative_to(ROOT)), match[2]))
    return found


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_a_design_page(room: str) -> None:
    assert (DESIGN / f"{room}.md").exists()


def test_design_pages_are_short() -> None:
    long = {page.name: n for page in DESIGN.glob("*.md") if (n := page.read_text("utf-8").count("\n")) > MAX_PAGE_LINES}
    assert long == {}


@pytest.mark.parametrize("room", rooms())
def test_every_room_is_in_the_annotated_tree(room: str) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.search(rf"^\s*(?:[│├└─ ]*)(?:src/roadbed/)?{room}/ +\S", text, re.M), f"README's tree lacks {room}/"


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_yaml_blocks_are_valid(page: str, text: str, tmp_path: Path) -> None:
    """A block with `kind:` is specs, one with `fabric:` a network, one with `usd:` prices, another one is config.yaml."""
    if re.search(r"^fabric:", text, re.M):
        assert recipe.read(text, page).num_gpus
        return
    if "usd:" in text:
        assert prices.read(text, page)
        return
    if re.search(r"\bkind:", text):
        assert load_text(text, page)
        return
    path = tmp_path / "config.yaml"
    path.write_text(text)
    load_config(path)


def test_python_blocks_compile() -> None:
    for page, text in blocks("python"):
        compile(text, page, "exec")


@pytest.mark.parametrize(("page", "text"), [*blocks("sh"), *blocks("bash")])
def test_shell_blocks_parse(page: str, text: str) -> None:
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"


@pytest.mark.parametrize(("page", "text"), [*blocks("sh"), *blocks("bash"), *blocks("text"), *blocks("console")])
def test_commands_shown_exist(page: str, text: str) -> None:
    from roadbed.cli import COMMANDS

    named = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?roadbed ([a-z]+)", text, re.M)
    assert [name for name in named if name not in COMMANDS] == [], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_kind_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "config.md").read_text("utf-8")
    assert [kind for kind in MODELS if kind != "config" and f"## kind: {kind}" not in text] == []
