"""The large picture: a box for many nodes, a line for many cables.

Columns are segments, frames are pods. What does not fit is left out by whole segments and pods, and says so: a network
is regular, the first few and the last show what the others look like.
"""

from collections import defaultdict

import msgspec
import numpy as np

from roadbed.fabric.base import GBIT, NOWHERE, Bools, Fabric, Ints, Kind, LinkKind
from roadbed.fabric.draw_ink import FAILED, INK, PLANES, SOFT, Colouring, heading, line, page, rate, rect, text

_WIDTH, _LEFT, _RIGHT = 1400.0, 190.0, 20.0
_MAX_PODS, _MAX_COLUMNS = 4, 16
_ROWS = {Kind.CORE: 90.0, Kind.AGG: 230.0, Kind.TOR: 400.0, Kind.GPU: 540.0}
_HEIGHTS = {Kind.CORE: 58.0, Kind.AGG: 62.0, Kind.TOR: 58.0, Kind.GPU: 78.0}
_NAMES = {Kind.CORE: "Cores", Kind.AGG: "Aggs", Kind.TOR: "ToRs", Kind.GPU: "servers"}
_ONE = {Kind.CORE: "Core", Kind.AGG: "Agg", Kind.TOR: "ToR"}
_TIERS = (
    (LinkKind.CORE, Kind.AGG, Kind.CORE),
    (LinkKind.FABRIC, Kind.TOR, Kind.AGG),
    (LinkKind.ACCESS, Kind.GPU, Kind.TOR),
)


class _Box(msgspec.Struct):
    """Nodes drawn as one."""

    x: float
    y: float
    width: float
    height: float
    kind: Kind
    plane: int
    lines: list[str]
    num: int


def draw_groups(fabric: Fabric, colouring: Colouring) -> str:
    """The picture as SVG."""
    group = _groups(fabric)
    boxes, frames = _lay_out(fabric, group)
    head = text(_LEFT, 34, heading(fabric), size=20, bold=True) + colouring.legend(_LEFT, 58)
    drawing = [
        *frames,
        _lines(fabric, colouring, group, boxes),
        *(_draw(box) for box in boxes.values()),
        _margins(fabric),
    ]
    empty = (
        next(_ROWS[kind] for kind in (Kind.CORE, Kind.AGG, Kind.TOR, Kind.GPU) if _has(fabric, kind)) - _ROWS[Kind.CORE]
    )
    inner = f"{head}<g transform='translate(0 {-empty:.0f})'>{''.join(drawing)}</g>"
    return page(_WIDTH, 650 - empty, heading(fabric), inner)


def _has(fabric: Fabric, kind: Kind) -> bool:
    return bool((fabric.kind == kind).any())


def _groups(fabric: Fabric) -> Ints:
    """[N] A number for all nodes drawn as one box.

    Servers by segment, ToRs by segment and plane, Aggs by pod, plane and rail, Cores by plane.
    """
    kind = np.where(fabric.kind < Kind.TOR, int(Kind.GPU), fabric.kind)
    none = np.full(fabric.num_nodes, NOWHERE, np.int32)
    pod = np.where(kind == Kind.CORE, none, fabric.pod)
    segment = np.where(kind <= Kind.TOR, fabric.segment, none)
    plane = np.where(kind == Kind.GPU, none, fabric.plane)
    rail = np.where(kind == Kind.AGG, fabric.rail, none)
    keys = np.stack([kind, pod, segment, plane, rail])
    return np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int32)


def _of(fabric: Fabric, kind: Kind, some: Bools) -> Ints:
    return np.flatnonzero((fabric.kind == kind) & some).astype(np.int32)


def _some(num: int, most: int) -> list[int]:
    """Which of num are shown; -1 stands for those left out."""
    return list(range(num)) if num <= most else [*range(most - 2), -1, num - 1]


def _lay_out(fabric: Fabric, group: Ints) -> tuple[dict[int, _Box], list[str]]:
    """Boxes by group, for those that are shown, and the frames of pods."""
    boxes: dict[int, _Box] = {}
    frames: list[str] = []
    tors = fabric.nodes(Kind.TOR)
    below = fabric.kind <= Kind.TOR
    num_pods = int(fabric.pod.max()) + 1
    pods = _some(num_pods, _MAX_PODS)
    most = max(3, _MAX_COLUMNS // len(pods))
    columns = {
        pod: [int(segments[at]) if at >= 0 else -1 for at in _some(len(segments), most)]
        for pod in pods
        if pod >= 0
        for segments in [np.unique(fabric.segment[below & (fabric.pod == pod)])]
    }
    total = sum(len(shown) for shown in columns.values()) + (0.6 if -1 in pods else 0)
    unit = (_WIDTH - _LEFT - _RIGHT - 16 * (len(pods) - 1)) / total
    x = _LEFT
    for pod in pods:
        if pod < 0:
            more = num_pods - sum(one >= 0 for one in pods)
            frames.append(text(x + 0.3 * unit, _ROWS[Kind.TOR], "⋯", size=28, fill=SOFT, anchor="middle"))
            frames.append(
                text(x + 0.3 * unit, _ROWS[Kind.TOR] + 22, f"{more:,} more", size=12, fill=SOFT, anchor="middle")
            )
            frames.append(text(x + 0.3 * unit, _ROWS[Kind.TOR] + 38, "pods", size=12, fill=SOFT, anchor="middle"))
            x += 0.6 * unit + 16
            continue
        width = unit * len(columns[pod])
        if num_pods > 1:
            frames.append(
                rect(x - 4, _ROWS[Kind.AGG] - 30, width + 8, 432, fill="none", stroke=SOFT, radius=10, dash=True)
            )
            frames.append(text(x + 4, _ROWS[Kind.AGG] - 14, f"pod {pod}", size=12, fill=SOFT))
        _pod_row(fabric, group, boxes, _of(fabric, Kind.AGG, fabric.pod == pod), Kind.AGG, x, width)
        num = len(np.unique(fabric.segment[below & (fabric.pod == pod)]))
        for at, segment in enumerate(columns[pod]):
            left = x + at * unit
            if segment < 0:
                more = num - sum(one >= 0 for one in columns[pod])
                frames.append(text(left + unit / 2, _ROWS[Kind.TOR] + 30, "⋯", size=24, fill=SOFT, anchor="middle"))
                frames.append(
                    text(left + unit / 2, _ROWS[Kind.GPU] + 36, f"{more:,} more", size=12, fill=SOFT, anchor="middle")
                )
                continue
            _pod_row(fabric, group, boxes, tors[fabric.segment[tors] == segment], Kind.TOR, left, unit)
            gpus = _of(fabric, Kind.GPU, fabric.segment == segment)
            _pod_row(fabric, group, boxes, gpus, Kind.GPU, left, unit)
        x += width + 16
    _pod_row(fabric, group, boxes, fabric.nodes(Kind.CORE), Kind.CORE, _LEFT, _WIDTH - _LEFT - _RIGHT)
    return boxes, frames


def _pod_row(
    fabric: Fabric, group: Ints, boxes: dict[int, _Box], nodes: Ints, kind: Kind, x: float, width: float
) -> None:
    """Boxes of these nodes, one per group, side by side."""
    found = np.unique(group[nodes]).tolist()
    for at, one in enumerate(found):
        mine = nodes[group[nodes] == one]
        each = width / len(found)
        gap = min(6.0, each * 0.1)
        boxes[one] = _Box(
            x=x + at * each + gap / 2,
            y=_ROWS[kind],
            width=each - gap,
            height=_HEIGHTS[kind],
            kind=kind,
            plane=int(fabric.plane[mine[0]]),
            lines=_words(fabric, kind, mine),
            num=len(mine),
        )


def _words(fabric: Fabric, kind: Kind, nodes: Ints) -> list[str]:
    first = int(nodes[0])
    if kind == Kind.GPU:
        servers = len(np.unique(fabric.server[nodes]))
        return [
            f"segment {fabric.segment[first]}",
            f"{servers:,} server{'s' if servers > 1 else ''}",
            f"{len(nodes):,} GPUs",
        ]
    plane, rail = int(fabric.plane[first]), int(fabric.rail[first])
    named = [f"plane {plane}"] if plane != NOWHERE else []
    if kind == Kind.AGG and rail != NOWHERE:
        named = [f"rail {rail}, plane {plane}" if plane != NOWHERE else f"rail {rail}"]
    count = f"{len(nodes):,} {_ONE[kind]}{'s' if len(nodes) > 1 else ''}"
    ports = [_ports(fabric, first, up) for up in (False, True)]
    return [*named, count, " · ".join(word for word in ports if word)]


def _ports(fabric: Fabric, node: int, up: bool) -> str:
    """`120×400G down`."""
    links = fabric.leaving(node)
    links = links[(fabric.kind[fabric.dst[links]] > fabric.kind[node]) == up]
    if not len(links):
        return ""
    return f"{len(links)}×{fabric.capacity[links[0]] / GBIT:g}G {'up' if up else 'down'}"


def _draw(box: _Box) -> str:
    stroke = PLANES[box.plane % len(PLANES)] if box.plane != NOWHERE else INK
    fill = "#dbeafe" if box.kind == Kind.GPU else "#ffffff"
    lines = [words for words in box.lines if words]
    parts = [rect(box.x, box.y, box.width, box.height, fill=fill, stroke=stroke, title=", ".join(lines))]
    short = [words for words in lines[:2] if "×" not in words]
    size = min(13.0, box.width / max(4.0, 0.64 * max(len(words) for words in short)))
    size = max(size, 7.0)
    room = [words for words in lines if len(words) * size * 0.56 <= box.width] or lines[-1:]
    step = min(size + 5, box.height / len(room))
    top = box.y + box.height / 2 - step * (len(room) - 1) / 2 + size * 0.36
    middle = box.x + box.width / 2
    parts += [text(middle, top + step * at, words, size=size, anchor="middle") for at, words in enumerate(room)]
    return "".join(parts)


def _lines(fabric: Fabric, colouring: Colouring, group: Ints, boxes: dict[int, _Box]) -> str:
    """One line for all cables between two boxes."""
    parts = []
    network = np.flatnonzero(fabric.link_kind >= LinkKind.ACCESS)
    a, b = group[fabric.src[network]].astype(np.int64), group[fabric.dst[network]].astype(np.int64)
    num = int(group.max()) + 1
    key = np.minimum(a, b) * num + np.maximum(a, b)
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    ends = np.r_[starts[1:], len(order)]
    shown = [
        (boxes[one // num], boxes[one % num], network[order[start:end]].astype(np.int32))
        for one, start, end in zip(keys.tolist(), starts.tolist(), ends.tolist(), strict=True)
        if one // num in boxes and one % num in boxes
    ]
    pairs = [(one, other, links) if one.y > other.y else (other, one, links) for one, other, links in shown]
    tops = _spread([(id(high), high, low) for low, high, _ in pairs])
    bottoms = _spread([(id(low), low, high) for low, high, _ in pairs])
    for at, (low, high, links) in enumerate(pairs):
        colour, words, wider = colouring.of(links, max(low.plane, high.plane))
        cables = len(links) / 2
        title = f"{cables:,.0f} cables, {rate(float(fabric.capacity[links].sum()) / GBIT / 2)}"
        width = (0.8 + 0.5 * float(np.log2(max(1.0, cables)))) * wider * 0.5
        title += f"; {words}" if words else ""
        parts.append(line(bottoms[at], low.y, tops[at], high.y + high.height, colour, width, title, 0.75))
    if colouring.failed is not None:
        drawn = sum(int(colouring.failed[links].sum()) for _, _, links in pairs)
        if hidden := int(colouring.failed[network].sum()) - drawn:
            words = f"{hidden:,} failed directions are in parts left out"
            parts.append(text(_WIDTH - _RIGHT, _ROWS[Kind.GPU] + 104, words, fill=FAILED, anchor="end"))
    return "".join(parts)


def _spread(ends: list[tuple[int, _Box, _Box]]) -> list[float]:
    """Where each line meets its box: in the order of the boxes at their other ends, evenly over its width."""
    lines_of: dict[int, list[int]] = defaultdict(list)
    for at, (key, _, _) in enumerate(ends):
        lines_of[key].append(at)
    found = [0.0] * len(ends)
    for mine in lines_of.values():
        mine.sort(key=lambda at: ends[at][2].x)
        box = ends[mine[0]][1]
        for place, at in enumerate(mine):
            found[at] = box.x + box.width * (place + 0.5) / len(mine)
    return found


def _margins(fabric: Fabric) -> str:
    """Names of tiers, and between two what is cabled there: how much goes up, and how much would like to."""
    parts = []
    for kind in (Kind.CORE, Kind.AGG, Kind.TOR, Kind.GPU):
        num = fabric.num_servers if kind == Kind.GPU else len(fabric.nodes(kind))
        if num:
            y = _ROWS[kind] + _HEIGHTS[kind] / 2 + 5
            parts.append(text(16, y, f"{num:,} {_NAMES[kind] if num > 1 else _NAMES[kind][:-1]}", size=14, bold=True))
    for link, low, high in _TIERS:
        mine = np.flatnonzero((fabric.link_kind == link) & (fabric.kind[fabric.src] < fabric.kind[fabric.dst]))
        if not len(mine):
            continue
        middle = (_ROWS[low] + _ROWS[high] + _HEIGHTS[high]) / 2
        up = float(fabric.capacity[mine].sum()) / GBIT
        speed = fabric.capacity[mine[0]] / GBIT
        parts.append(text(16, middle - 8, f"{len(mine):,} × {speed:g}G", size=12, fill=SOFT))
        parts.append(text(16, middle + 8, rate(up), size=12, fill=SOFT))
        parts.append(text(16, middle + 24, _ratio(fabric, low, up), size=12, fill=SOFT))
    return "".join(parts)


def _ratio(fabric: Fabric, low: Kind, up_gbps: float) -> str:
    """`1.07 : 1`, of what comes up into the lower switches to what leaves them."""
    if low == Kind.GPU:
        return ""
    down = (fabric.kind[fabric.src] == low) & (fabric.kind[fabric.dst] < low)
    ratio = float(fabric.capacity[down].sum()) / GBIT / up_gbps
    return f"down : up = {ratio:.3g} : 1"
