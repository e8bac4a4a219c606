"""The small picture: every GPU, card, switch and cable.

Rows from below: servers with their GPUs and cards, ToRs, Aggs, Cores. Switches of a plane stand together, so the planes
are two fans that never touch.
"""

import numpy as np

from roadbed.fabric.base import GBIT, NOWHERE, Fabric, Ints, Kind, LinkKind
from roadbed.fabric.draw_ink import FAINT, INK, PLANES, SOFT, Colouring, heading, line, page, rate, rect, text

_LEFT, _RIGHT, _TOP = 90, 20, 70
_ROWS = {Kind.CORE: 0, Kind.AGG: 1, Kind.TOR: 2}
_STEP = 150
_NAMES = {Kind.TOR: "ToRs", Kind.AGG: "Aggs", Kind.CORE: "Cores"}
_CABLES = {LinkKind.ACCESS: 1.4, LinkKind.FABRIC: 0.7, LinkKind.CORE: 0.7}


def draw_every(fabric: Fabric, colouring: Colouring) -> str:
    """The picture as SVG."""
    kinds = [kind for kind in (Kind.CORE, Kind.AGG, Kind.TOR) if len(fabric.nodes(kind))]
    widest = max([fabric.num_gpus * 34, *(len(fabric.nodes(kind)) * 13 for kind in kinds), 700])
    width = _LEFT + widest + _RIGHT
    at = _positions(fabric, kinds, width)
    bottom = _TOP + _STEP * len(kinds)
    parts = [
        text(_LEFT, 30, heading(fabric), size=18, bold=True),
        colouring.legend(_LEFT, 50),
        _cables(fabric, colouring, at),
        *(_switches(fabric, kind, at) for kind in kinds),
        _servers(fabric, at, bottom),
        _margin(fabric, bottom),
    ]
    return page(width, bottom + 190, heading(fabric), "".join(parts))


class _Places:
    """[N] Middle of each node, its half width, its row."""

    def __init__(self, num: int) -> None:
        self.x = np.zeros(num)
        self.y = np.zeros(num)
        self.half = np.zeros(num)


def _positions(fabric: Fabric, kinds: list[Kind], width: float) -> _Places:
    at = _Places(fabric.num_nodes)
    room = width - _LEFT - _RIGHT
    for row, kind in enumerate(kinds):
        nodes = fabric.nodes(kind)
        order = np.lexsort((nodes, fabric.segment[nodes], fabric.plane[nodes], fabric.pod[nodes]))
        _spread(at, nodes[order], room, _TOP + row * _STEP + 20, 34)
        _gap_planes(fabric, at, nodes[order])
    bottom = _TOP + _STEP * len(kinds)
    slot = room / fabric.num_servers
    for kind, y in ((Kind.GPU, bottom + 78), (Kind.NIC, bottom + 20)):
        for server in range(fabric.num_servers):
            nodes = fabric.nodes(kind)
            mine = nodes[fabric.server[nodes] == server]
            step = (slot - 24) / max(1, len(mine))
            at.x[mine] = _LEFT + server * slot + 12 + step * (np.arange(len(mine)) + 0.5)
            at.half[mine] = min(13, step * 0.42)
        at.y[fabric.nodes(kind)] = y
    return at


def _spread(at: _Places, nodes: Ints, room: float, y: float, most: float) -> None:
    step = room / len(nodes)
    at.x[nodes] = _LEFT + step * (np.arange(len(nodes)) + 0.5)
    at.y[nodes] = y
    at.half[nodes] = min(most, step * 0.8) / 2


def _gap_planes(fabric: Fabric, at: _Places, nodes: Ints) -> None:
    """Draws each half a little to its side."""
    planes = fabric.plane[nodes]
    if planes.min() != NOWHERE and planes.max() > planes.min():
        middle = at.x[nodes].mean()
        at.x[nodes] = middle + (at.x[nodes] - middle) * 0.96 + np.where(planes == planes.min(), -1, 1) * 12


def _cables(fabric: Fabric, colouring: Colouring, at: _Places) -> str:
    parts = []
    once = np.arange(fabric.num_links) < np.where(fabric.reverse < 0, fabric.num_links, fabric.reverse)
    for kind, width in _CABLES.items():
        links = np.flatnonzero(once & (fabric.link_kind == kind))
        faded = 1.0 if len(links) < 200 else 0.35
        for link in links.tolist():
            a, b = int(fabric.src[link]), int(fabric.dst[link])
            both = np.array([link] if fabric.reverse[link] < 0 else [link, fabric.reverse[link]], np.int32)
            colour, words, wider = colouring.of(both, int(max(fabric.plane[a], fabric.plane[b])))
            shift = _parallel(fabric, link, a, b)
            title = f"{fabric.link_name(link)}, {rate(fabric.capacity[link] * 8e-9)}" + (f"; {words}" if words else "")
            opacity = 1.0 if wider > 1 else faded
            parts.append(
                line(at.x[a] + shift, at.y[a], at.x[b] + shift, at.y[b], colour, width * wider, title, opacity)
            )
    return "".join(parts)


def _parallel(fabric: Fabric, link: int, a: int, b: int) -> float:
    """Parallel cables lie side by side."""
    same = [one for one in fabric.leaving(a).tolist() if fabric.dst[one] == b]
    return 1.6 * (same.index(link) - (len(same) - 1) / 2) if len(same) > 1 else 0.0


def _switches(fabric: Fabric, kind: Kind, at: _Places) -> str:
    nodes = fabric.nodes(kind)
    parts = [text(12, at.y[nodes[0]] + 4, _NAMES[kind], size=13, fill=SOFT)]
    for node in nodes.tolist():
        half = at.half[node]
        plane = int(fabric.plane[node])
        stroke = PLANES[plane % len(PLANES)] if plane != NOWHERE else SOFT
        where = [f"{word} {value}" for word, value in _where(fabric, node) if value != NOWHERE]
        title = f"{fabric.node_name(node)}: {len(fabric.leaving(node))} ports; {', '.join(where)}"
        parts.append(rect(at.x[node] - half, at.y[node] - 11, 2 * half, 22, fill="#fff", stroke=stroke, title=title))
        if half >= 9:
            parts.append(text(at.x[node], at.y[node] + 4, str(fabric.index[node]), size=10, anchor="middle"))
    return "".join(parts)


def _where(fabric: Fabric, node: int) -> list[tuple[str, int]]:
    return [(word, int(getattr(fabric, word)[node])) for word in ("pod", "segment", "plane", "rail")]


def _servers(fabric: Fabric, at: _Places, bottom: float) -> str:
    parts = [text(12, bottom + 24, "cards", size=13, fill=SOFT), text(12, bottom + 82, "GPUs", size=13, fill=SOFT)]
    server_of = fabric.server[: fabric.num_gpus]
    for server in range(fabric.num_servers):
        xs = at.x[: fabric.num_gpus][server_of == server]
        parts.append(_frame(fabric, server, xs.min() - 17, xs.max() + 17, bottom))
    for gpu in range(fabric.num_gpus):
        nic = int(fabric.gpu_nic[gpu])
        parts.append(line(at.x[gpu], at.y[gpu], at.x[nic], at.y[nic], SOFT, 1, "PCIe"))
        if fabric.gpu_scale_up[gpu] != NOWHERE:
            parts.append(line(at.x[gpu], at.y[gpu], at.x[gpu], bottom + 116, INK, 2, "scale-up"))
    for node in [*fabric.nodes(Kind.NIC).tolist(), *range(fabric.num_gpus)]:
        is_gpu = fabric.kind[node] == Kind.GPU
        half, rail = at.half[node], int(fabric.rail[node])
        fill = "#dbeafe" if is_gpu else "#f1f5f9"
        title = f"{fabric.node_name(node)}, rail {rail}"
        parts.append(rect(at.x[node] - half, at.y[node] - 11, 2 * half, 22, fill=fill, stroke=INK, title=title))
        parts.append(text(at.x[node], at.y[node] + 4, str(fabric.index[node]), size=9, anchor="middle"))
    return "".join(parts)


def _frame(fabric: Fabric, server: int, low: float, high: float, bottom: float) -> str:
    """A server: its frame, its name, and the bar that joins its GPUs."""
    parts = [
        rect(low, bottom + 2, high - low, 158, fill="none", stroke=FAINT, radius=8),
        text((low + high) / 2, bottom + 153, f"server {server}", size=11, fill=SOFT, anchor="middle"),
    ]
    hubs = fabric.nodes(Kind.SCALE_UP)
    for hub in hubs[fabric.server[hubs] == server].tolist():
        gbytes = fabric.capacity[fabric.leaving(hub)[0]] / 1e9
        words = f"scale-up, {gbytes:g} GB/s a GPU and direction"
        parts.append(rect(low + 8, bottom + 114, high - low - 16, 20, fill="#e2e8f0", stroke=INK, title=words))
        parts.append(text((low + high) / 2, bottom + 128, words, size=10, anchor="middle"))
    return "".join(parts)


def _margin(fabric: Fabric, bottom: float) -> str:
    """How many cables of what speed there are between two rows."""
    parts = []
    y = bottom - _STEP / 2 + 20
    for kind in (LinkKind.ACCESS, LinkKind.FABRIC, LinkKind.CORE):
        links = np.flatnonzero((fabric.link_kind == kind) & (fabric.kind[fabric.src] < fabric.kind[fabric.dst]))
        if len(links):
            words = f"{len(links):,} × {fabric.capacity[links[0]] / GBIT:g}G"
            parts.append(text(12, y, words, size=11, fill=SOFT))
            y -= _STEP
    return "".join(parts)
