"""Marks of the network drawings: SVG text of boxes, lines and words, and the colour of a link.

A drawing stands alone (opened in a browser, put into a page, turned into a bitmap), so colours are written out and the
ground is white. Every mark may carry words that a pointer asks for.
"""

from html import escape

import msgspec

from roadbed.fabric.base import Bools, Fabric, Floats, Ints

PLANES = ("#2563eb", "#d97706", "#059669", "#9333ea")
"""By plane; the first also where there are none."""
INK, SOFT, FAINT, FAILED = "#1e293b", "#64748b", "#e2e8f0", "#dc2626"
_HEAT = ((203, 213, 225), (251, 191, 36), (185, 28, 28))
FONT = "font-family='system-ui, sans-serif'"


class Colouring(msgspec.Struct, frozen=True):
    """What happened to links, to show it. Both [L] and optional."""

    utilisation: Floats | None = None
    """0 … 1."""
    failed: Bools | None = None

    def of(self, links: Ints, plane: int) -> tuple[str, str, float]:
        """Colour, words and width factor of links that are drawn as one line."""
        if self.failed is not None and (num := int(self.failed[links].sum())):
            return FAILED, f"{num:,} of {len(links):,} directions failed", 2.0
        if self.utilisation is not None:
            load = self.utilisation[links]
            return heat(float(load.max())), f"busiest {load.max():.0%}, mean {load.mean():.0%}", 1.0 + float(load.max())
        return PLANES[max(0, plane) % len(PLANES)], "", 1.0

    def legend(self, x: float, y: float) -> str:
        """What the colours mean, nothing where they are only planes."""
        parts = []
        if self.utilisation is not None:
            steps = [rect(x + 12 * at, y - 9, 12, 10, fill=heat(at / 10), stroke="none", radius=0) for at in range(11)]
            parts += [*steps, text(x + 140, y, "busiest link, 0 to 100 %", size=11, fill=SOFT)]
            x += 300
        if self.failed is not None:
            parts += [line(x, y - 4, x + 24, y - 4, FAILED, 3.0), text(x + 30, y, "failed", size=11, fill=SOFT)]
        return "".join(parts)


def heat(share: float) -> str:
    """Grey, amber, red for 0, one half, 1."""
    share = min(1.0, max(0.0, share))
    low, high, at = (_HEAT[0], _HEAT[1], 2 * share) if share < 0.5 else (_HEAT[1], _HEAT[2], 2 * share - 1)
    return "#" + "".join(f"{round(a + (b - a) * at):02x}" for a, b in zip(low, high, strict=True))


def text(
    x: float, y: float, words: str, *, size: float = 12, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    """Words at a point; anchor says which part of them stands there."""
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size:g}' fill='{fill}' text-anchor='{anchor}'{weight}>"
        f"{escape(words)}</text>"
    )


def rect(
    x: float, y: float, width: float, height: float, *, fill: str, stroke: str = SOFT, title: str = "",
    radius: float = 4, dash: bool = False,
) -> str:  # fmt: skip
    """A box from its upper left corner; dash draws its border broken."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    dashes = " stroke-dasharray='5 4'" if dash else ""
    return (
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(0.0, width):.1f}' height='{height:.1f}' rx='{radius:g}' "
        f"fill='{fill}' stroke='{stroke}'{dashes}>{inner}</rect>"
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, title: str = "", opacity: float = 1
) -> str:
    """A straight line; title is what a pointer on it is told."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    faded = f" stroke-opacity='{opacity:g}'" if opacity < 1 else ""
    return (
        f"<path d='M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}' stroke='{colour}' stroke-width='{width:.2f}'{faded} "
        f"fill='none'>{inner}</path>"
    )


def page(width: float, height: float, name: str, inner: str) -> str:
    """The whole file."""
    label = escape(name, quote=True)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"height='{height:.0f}' role='img' aria-label='{label}'><title>{label}</title>"
        f"<rect width='100%' height='100%' fill='#ffffff'/>{inner}</svg>\n"
    )


def rate(gbps: float) -> str:
    """`400 Gb/s`, `25.6 Tb/s`, `5.76 Pb/s`."""
    for limit, unit in ((1e3, "Gb/s"), (1e6, "Tb/s")):
        if gbps < limit:
            return f"{gbps / (limit / 1e3):.4g} {unit}"
    return f"{gbps / 1e6:.4g} Pb/s"


def heading(fabric: Fabric) -> str:
    """Name, size and chip in one line."""
    servers = f"{fabric.num_servers:,} servers of {fabric.gpus_per_server} × {fabric.chip}"
    return f"{fabric.name}: {fabric.num_gpus:,} GPUs, {servers}"
