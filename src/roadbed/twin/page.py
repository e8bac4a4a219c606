"""The frame of a report: one HTML file, complete in itself. No script, no font, no network: it can be mailed.

A page says how its numbers were made, so that a picture passed on without its command line still can be judged. Colours
are the console's, in both schemes.
"""

from collections.abc import Sequence
from html import escape

from roadbed import __version__
from roadbed.twin.svg import NUM_COLOURS

_STYLE = """
:root { --ground: #f4f5f7; --card: #fff; --line: #dfe3e8; --ink: #17202a; --soft: #55616e; color-scheme: light dark;
  --c0: #3346c4; --c1: #b4531a; --c2: #12703a; --c3: #8a2be2; --c4: #b3261e; --c5: #0e7490; --c6: #855600;
  --c7: #55616e }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1216; --card: #161b21; --line: #2b333c; --ink: #e7ebef;
  --soft: #9ba8b5; --c0: #97a6ff; --c1: #f0a26b; --c2: #6fd394; --c3: #c9a0ff; --c4: #ff9a90; --c5: #67d3e8;
  --c6: #f0c25c; --c7: #9ba8b5 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1560px; padding: 20px; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif }
h1 { font-size: 19px } h2 { font-size: 15px; margin: 28px 0 8px } p { color: var(--soft); margin: 4px 0 }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 14px }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 13px 16px }
figcaption { font-size: 13px; font-weight: 600; margin-bottom: 6px }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: var(--soft) }
.grid { stroke: var(--line) } .line { fill: none; stroke-width: 1.8 } .error { stroke: var(--ink); stroke-width: 1.5 }
.legend { list-style: none; margin: 4px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 14px;
  font-size: 12px }
.legend li::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 2px;
  margin-right: 5px;
  background: var(--c) }
.h { fill: var(--c0) }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line) }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left } .wide { overflow-x: auto }
"""
_COLOURS = "".join(
    f".c{at} {{ --c: var(--c{at}); stroke: var(--c) }} .bar.c{at} {{ fill: var(--c{at}); stroke: none }}\n"
    for at in range(NUM_COLOURS)
)


def page(title: str, facts: Sequence[str], body: str) -> str:
    """A whole document: title, sentences on how it was made, and the body (HTML)."""
    lines = "".join(f"<p>{escape(fact)}</p>" for fact in facts)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}{_COLOURS}</style><h1>{escape(title)}</h1>{lines}{body}"
        f"<p>roadbed {escape(__version__)}</p></html>\n"
    )


def figure(caption: str, chart: str) -> str:
    """A chart with its caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts, numbers to the right of the first column."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headers)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
