"""SimAI's topology file, both ways.

    line 1   nodes gpus_per_server nvswitches other_switches links gpu_type
    line 2   ids of the switches: the nvswitches first, then the others
    then     src dst bandwidth latency error_rate        400Gbps 0.0005ms 0

The format knows neither cards nor tiers. Reading gives every GPU a card and finds tiers by height: a ToR has GPUs, an
Agg has ToRs below, a Core has only Aggs. Several nvswitches of one server become one with the sum of their bandwidth,
because what they offer a GPU is the sum. Writing leaves cards out: one shared by k GPUs becomes k of 1/k the speed.
Speeds are taken as written: SimAI's 2880Gbps for an H100's NVLink is what a copy reaches, not the nominal 3600.
Error rates are read, checked and dropped: links here work or fail, they do not corrupt.
"""

import re
from collections.abc import Iterator

import numpy as np

from roadbed.errors import SpecError, UsageError
from roadbed.fabric.base import GBIT, Bytes8, Fabric, Floats, Ints, Kind, LinkKind
from roadbed.fabric.constants import PCIE_GEN5_X16_BYTES_S
from roadbed.fabric.topology.assemble import Parts, assemble
from roadbed.fabric.topology.clos import MAX_CABLES
from roadbed.hardware.chips import CHIPS, resolve

MAX_NODES = 1 << 20
DEFAULT_CHIP = "H100"
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(bps|Kbps|Mbps|Gbps|Tbps)", re.ASCII)
_TIME = re.compile(r"(\d{1,12}(?:\.\d{1,15})?(?:[eE]-?\d{1,2})?)(ns|us|ms|s)", re.ASCII)
_RATES = {"bps": 1e-9, "Kbps": 1e-6, "Mbps": 1e-3, "Gbps": 1.0, "Tbps": 1e3}
_TIMES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_HEADER = ("nodes", "gpus_per_server", "nvswitches", "other_switches", "links")
_GPU, _HUB, _SWITCH = 0, 1, 2


def write(fabric: Fabric) -> str:
    """The file of a fabric. UsageError where a cable is one-way: the format has none."""
    if (fabric.reverse < 0).any():
        link = int(np.flatnonzero(fabric.reverse < 0)[0])
        raise UsageError(f"{fabric.link_name(link)} is one-way; SimAI's format has only whole cables", field="link")
    owners = np.bincount(fabric.gpu_nic, minlength=fabric.num_nodes)
    first_nic = int((fabric.kind < Kind.NIC).sum())
    nics = int((fabric.kind == Kind.NIC).sum())
    order = np.argsort(fabric.gpu_nic, kind="stable").astype(np.int32)
    start = np.searchsorted(fabric.gpu_nic[order], np.arange(fabric.num_nodes))
    renumber = np.arange(fabric.num_nodes, dtype=np.int32)
    renumber[first_nic + nics :] -= nics
    forward = np.flatnonzero((np.arange(fabric.num_links) < fabric.reverse) & (fabric.link_kind != LinkKind.PCIE))
    lines = []
    for link in forward.tolist():
        a, b = int(fabric.src[link]), int(fabric.dst[link])
        speed, delay = float(fabric.capacity[link]), float(fabric.latency_s[link])
        if fabric.kind[a] == Kind.NIC:
            share = int(owners[a])
            tail = f"{renumber[b]} {_gbps(speed / max(1, share))} {_ms(delay)} 0"
            lines += [f"{gpu} {tail}" for gpu in order[start[a] : start[a] + share]]
        else:
            lines.append(f"{renumber[a]} {renumber[b]} {_gbps(speed)} {_ms(delay)} 0")
    hubs = int((fabric.kind == Kind.SCALE_UP).sum())
    num = fabric.num_nodes - nics
    others = num - fabric.num_gpus - hubs
    header = f"{num} {fabric.gpus_per_server} {hubs} {others} {len(lines)} {fabric.chip}"
    switches = " ".join(str(node) for node in range(fabric.num_gpus, num))
    return "\n".join([header, switches, *lines]) + "\n"


def read(text: str, source: str) -> Fabric:
    """The network of a file. Raises SpecError `source:line: field: what is wrong` at the first thing it can't read."""
    lines = text.split("\n")
    reader = _Reader(source)
    header = lines[0].split()
    reader.line = 1
    if len(header) not in (5, 6):
        raise reader.wrong("header", f"{len(header)} fields; expected {' '.join(_HEADER)} gpu_type")
    num, per, num_hubs, num_others, num_links = (
        reader.whole(name, word) for name, word in zip(_HEADER, header, strict=False)
    )
    gpus = num - num_hubs - num_others
    if not 1 <= num <= MAX_NODES:
        raise reader.wrong("nodes", f"{num:,}; between 1 and {MAX_NODES:,} can be read")
    if gpus < 1:
        raise reader.wrong(
            "nodes", f"{num} nodes less {num_hubs} nvswitches and {num_others} other switches leave no GPU"
        )
    if per < 1 or gpus % per:
        raise reader.wrong("gpus_per_server", f"{gpus} GPUs are no whole number of servers of {per}")
    if num_links > MAX_CABLES:
        raise reader.wrong("links", f"{num_links:,}; at most {MAX_CABLES:,} can be read")
    role = reader.switches(lines[1] if len(lines) > 1 else "", num, num_hubs, num_others)
    rows = reader.links(lines, num, num_links)
    return _assemble(reader, role, rows, per, header[5] if len(header) > 5 else DEFAULT_CHIP)


class _Rows:
    """Links as columns, with the line each came from."""

    def __init__(self, num: int) -> None:
        self.src, self.dst = np.zeros(num, np.int32), np.zeros(num, np.int32)
        self.capacity, self.latency_s = np.zeros(num), np.zeros(num)
        self.line = np.zeros(num, np.int32)


class _Reader:
    """Words to numbers, and mistakes to places."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 0
        self.place = np.zeros(0, np.int32)
        """[nodes] Where on line 2 a switch stands."""
        self._rates: dict[str, float] = {}
        self._times: dict[str, float] = {}

    def wrong(self, field: str, message: str) -> SpecError:
        return SpecError(
            f"{self.source}:{self.line}: {field}: {message}", hint="roadbed fabric export --format simai", field=field
        )

    def whole(self, field: str, word: str) -> int:
        if not (word.isascii() and word.isdigit()) or len(word) > 10:
            raise self.wrong(field, f"{word[:40]!r} is not a whole number")
        return int(word)

    def switches(self, text: str, num: int, num_hubs: int, num_others: int) -> Bytes8:
        """[nodes] What each is."""
        self.line = 2
        words = text.split()
        if len(words) != num_hubs + num_others:
            raise self.wrong("switches", f"{len(words)} ids; line 1 promises {num_hubs} + {num_others}")
        role = np.zeros(num, np.int8)
        self.place = np.zeros(num, np.int32)
        for at, word in enumerate(words):
            node = self.whole("switches", word)
            if node >= num:
                raise self.wrong("switches", f"{node} is no node: they are numbered 0 to {num - 1}")
            if role[node] != _GPU:
                raise self.wrong("switches", f"{node} is listed twice")
            role[node] = _HUB if at < num_hubs else _SWITCH
            self.place[node] = at
        return role

    def links(self, lines: list[str], num: int, num_links: int) -> _Rows:
        rows = _Rows(num_links)
        at = 0
        for number, text in enumerate(lines[2:], start=3):
            words = text.split()
            if not words:
                continue
            self.line = number
            if at == num_links:
                raise self.wrong("links", f"more than the {num_links} that line 1 promises")
            if len(words) != 5:
                raise self.wrong("link", f"{len(words)} fields; expected src dst bandwidth latency error_rate")
            rows.src[at], rows.dst[at] = self._node("src", words[0], num), self._node("dst", words[1], num)
            if words[0] == words[1]:
                raise self.wrong("dst", f"node {words[1]} is linked to itself")
            rows.capacity[at] = self._rates[words[2]] if words[2] in self._rates else self._rate(words[2])
            rows.latency_s[at] = self._times[words[3]] if words[3] in self._times else self._time(words[3])
            self._error_rate(words[4])
            rows.line[at] = number
            at += 1
        if at < num_links:
            self.line = len(lines)
            raise self.wrong("links", f"{at} of the {num_links} that line 1 promises")
        return rows

    def _node(self, field: str, word: str, num: int) -> int:
        node = self.whole(field, word)
        if node >= num:
            raise self.wrong(field, f"{node} is no node: they are numbered 0 to {num - 1}")
        return node

    def _rate(self, word: str) -> float:
        match = _RATE.fullmatch(word)
        if match is None or float(match[1]) <= 0:
            raise self.wrong("bandwidth", f"{word[:40]!r} is not a rate such as 400Gbps")
        return self._rates.setdefault(word, float(match[1]) * _RATES[match[2]] * GBIT)

    def _time(self, word: str) -> float:
        match = _TIME.fullmatch(word)
        if match is None:
            raise self.wrong("latency", f"{word[:40]!r} is not a time such as 0.0005ms")
        return self._times.setdefault(word, float(match[1]) * _TIMES[match[2]])

    def _error_rate(self, word: str) -> None:
        if word == "0":
            return
        try:
            rate = float(word)
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1:
            raise self.wrong("error_rate", f"{word[:40]!r} is not a share between 0 and 1")


def _assemble(reader: _Reader, role: Bytes8, rows: _Rows, per: int, gpu_type: str) -> Fabric:
    gpus = np.flatnonzero(role == _GPU).astype(np.int32)
    num = len(gpus)
    tier = _tiers(reader, role, rows)
    hub_of, hub_capacity, hub_latency = _scale_up(reader, role, rows, gpus, per)
    servers = num // per
    has_hub = bool((hub_of >= 0).any())
    first_nic = num + (servers if has_hub else 0)
    number = np.zeros(len(role), np.int32)
    number[gpus] = first_nic + np.arange(num)  # as the lower end of a network link: its card
    at = first_nic + num
    sizes = []
    for of in (Kind.TOR, Kind.AGG, Kind.CORE):
        mine = np.flatnonzero(tier == of)
        number[mine] = at + np.arange(len(mine))
        at += len(mine)
        sizes.append(len(mine))
    network = (role[rows.src] != _HUB) & (role[rows.dst] != _HUB)
    low = np.where(tier[rows.src] < tier[rows.dst], rows.src, rows.dst)[network]
    high = np.where(tier[rows.src] < tier[rows.dst], rows.dst, rows.src)[network]
    gpu = np.arange(num, dtype=np.int32)
    joined = gpu[hub_of >= 0]
    kinds = (tier[high] - Kind.TOR + LinkKind.ACCESS).astype(np.int8)
    parts: list[tuple[Ints, Ints, Bytes8, Floats, Floats]] = [
        (joined, num + joined // per, _full(joined, LinkKind.SCALE_UP), hub_capacity[joined], hub_latency[joined]),
        (gpu, first_nic + gpu, _full(gpu, LinkKind.PCIE), np.full(num, PCIE_GEN5_X16_BYTES_S), np.zeros(num)),
        (number[low], number[high], kinds, rows.capacity[network], rows.latency_s[network]),
    ]
    a, b, kind, capacity, latency = (np.concatenate(column) for column in zip(*parts, strict=True))
    return assemble(
        Parts(
            name="simai",
            parameters={"source": reader.source, "gpu_type": gpu_type},
            chip=_chip(gpu_type),
            gpus_per_server=per,
            gpu_server=gpu // per,
            hub_server=np.arange(servers if has_hub else 0, dtype=np.int32),
            card_server=gpu // per,
            gpu_card=gpu,
            num_tors=sizes[0],
            num_aggs=sizes[1],
            num_cores=sizes[2],
            a=a.astype(np.int32),
            b=b.astype(np.int32),
            kind=kind,
            capacity=capacity,
            latency_s=latency,
            both_ways=np.ones(len(a), bool),
        )
    )


def _full(like: Ints, kind: LinkKind) -> Bytes8:
    return np.full(len(like), kind, np.int8)


def _chip(gpu_type: str) -> str:
    """The catalogue's chip of that name, the largest where it names a family; H100 where there is none."""
    known = {name.casefold() for name in CHIPS} | {alias.casefold() for one in CHIPS.values() for alias in one.aliases}
    if gpu_type.casefold() not in known:
        return DEFAULT_CHIP
    return max(resolve(gpu_type), key=lambda name: CHIPS[name].memory_mib)


def _tiers(reader: _Reader, role: Bytes8, rows: _Rows) -> Bytes8:
    """[nodes] Kind: switches by their distance from GPUs. Links must go from a tier to the next.

    A ToR without GPUs looks like a Core. Where line 2 lists the tiers in order, as generators do, its place tells.
    """
    tier = np.where(role == _GPU, int(Kind.NIC), -1).astype(np.int8)
    switch = role == _SWITCH

    def climb(below: Kind, kind: Kind) -> None:
        for one, other in ((rows.src, rows.dst), (rows.dst, rows.src)):
            hit = (tier[one] == below) & switch[other] & (tier[other] < 0)
            tier[other[hit]] = kind

    climb(Kind.NIC, Kind.TOR)
    climb(Kind.TOR, Kind.AGG)
    tors, aggs = (reader.place[tier == kind] for kind in (Kind.TOR, Kind.AGG))
    if len(aggs):
        idle = switch & (tier < 0) & (reader.place > tors.min()) & (reader.place < aggs.min())
        tier[idle] = Kind.TOR
        climb(Kind.TOR, Kind.AGG)
    climb(Kind.AGG, Kind.CORE)
    lost = np.flatnonzero(switch & (tier < 0))
    if len(lost):
        reader.line = 2
        raise reader.wrong("switches", f"{int(lost[0])} is not joined to any GPU within three tiers")
    network = (role[rows.src] != _HUB) & (role[rows.dst] != _HUB)
    bad = np.flatnonzero(network & (np.abs(tier[rows.src] - tier[rows.dst]) != 1))
    if len(bad):
        reader.line = int(rows.line[bad[0]])
        ends = int(rows.src[bad[0]]), int(rows.dst[bad[0]])
        raise reader.wrong("dst", f"{ends[0]} and {ends[1]} are {_words(tier, ends)}: links go from a tier to the next")
    return tier


def _words(tier: Bytes8, ends: tuple[int, int]) -> str:
    names = ["GPU" if tier[end] == Kind.NIC else Kind(int(tier[end])).name.capitalize() for end in ends]
    return f"both {names[0]}s" if names[0] == names[1] else " and ".join(names)


def _scale_up(reader: _Reader, role: Bytes8, rows: _Rows, gpus: Ints, per: int) -> tuple[Ints, Floats, Floats]:
    """[GPUs] A scale-up switch of each (or -1), its bandwidth to all of them together, its latency."""
    place = np.full(len(role), -1, np.int32)
    place[gpus] = np.arange(len(gpus))
    hub_of = np.full(len(gpus), -1, np.int32)
    capacity, latency = np.zeros(len(gpus)), np.zeros(len(gpus))
    server_of: dict[int, int] = {}
    for at in _hub_links(role, rows):
        a, b = int(rows.src[at]), int(rows.dst[at])
        gpu, hub = (a, b) if role[b] == _HUB else (b, a)
        reader.line = int(rows.line[at])
        if role[gpu] != _GPU:
            raise reader.wrong("dst", f"nvswitch {hub} is linked to switch {gpu}; only GPUs hang on nvswitches")
        server = int(place[gpu]) // per
        if server_of.setdefault(hub, server) != server:
            raise reader.wrong("dst", f"nvswitch {hub} is of server {server_of[hub]}, GPU {gpu} of server {server}")
        hub_of[place[gpu]] = hub
        capacity[place[gpu]] += rows.capacity[at]
        latency[place[gpu]] = max(latency[place[gpu]], rows.latency_s[at])
    return hub_of, capacity, latency


def _hub_links(role: Bytes8, rows: _Rows) -> Iterator[int]:
    yield from np.flatnonzero((role[rows.src] == _HUB) | (role[rows.dst] == _HUB)).tolist()


def _gbps(capacity: float) -> str:
    return f"{capacity / GBIT:.12g}Gbps"


def _ms(latency_s: float) -> str:
    text = f"{latency_s * 1e3:.15f}".rstrip("0")
    return f"{text}0ms" if text.endswith(".") else f"{text}ms"
