"""A page is complete in itself and says nothing that could run."""

from html.parser import HTMLParser

from roadbed.twin.page import figure, page, table
from roadbed.twin.svg import NUM_COLOURS, Series, line_chart


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_nothing_is_loaded_and_names_are_text() -> None:
    chart = line_chart([Series("<script>alert(1)</script>", [(0, 1), (1, 2)])], "<x>", '"y"')
    text = page("a <b>", ["made & counted"], figure("c <d>", chart) + table(["<h>"], [["<script>"]]))
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.seen
    assert tags.links == []
    assert "made &amp; counted" in text
    assert {"figure", "svg", "table", "style"} <= set(tags.seen)


def test_every_series_has_a_colour() -> None:
    text = page("t", [], "")
    for at in range(NUM_COLOURS):
        assert f".c{at} {{" in text
        assert text.count(f"--c{at}: #") == 2  # light and dark
