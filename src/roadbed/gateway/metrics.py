"""Counters and histograms of the data plane, and their Prometheus text.

A family is a dict from label values to a number or a list of bucket counts, so counting is one dict operation; what
happens with every request is counted in its service's `Tally`, without labels, and added when someone asks. Each worker
saves its numbers once a second to `run/metrics-<worker>.json`; whichever worker is asked for /metrics adds up
all of them, so a scrape sees the gateway and not one process. A restarted worker goes on from its saved numbers.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

_SECONDS: Final[tuple[float, ...]] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FINE: Final[tuple[float, ...]] = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05)
_TOKEN: Final[tuple[float, ...]] = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)

_RATIO: Final[tuple[float, ...]] = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)

Labels = tuple[str | int, ...]


class Family(msgspec.Struct, frozen=True):
    """One metric: its name, kind, help text, label names, and bucket bounds for a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


FAMILIES: Final = (
    Family("roadbed_requests_total", "counter", "Answered requests.", ("service", "endpoint", "status")),
    Family("roadbed_outcomes_total", "counter", "Settled requests by outcome.", ("service", "outcome")),
    Family("roadbed_routes_total", "counter", "Routing decisions by reason.", ("service", "policy", "reason")),
    Family("roadbed_retries_total", "counter", "Requests sent again after a replica was lost.", ("service",)),
    Family("roadbed_limited_total", "counter", "Requests refused by a limit.", ("limit", "owner")),
    Family("roadbed_tokens_total", "counter", "Tokens by kind: prompt, cached, completion.", ("service", "kind")),
    Family("roadbed_ttft_seconds", "histogram", "Time to first token.", ("service",), _SECONDS),
    Family(
        "roadbed_ttft_predicted_seconds",
        "histogram",
        "Time to first token as predicted when sent.",
        ("service",),
        _SECONDS,
    ),
    Family(
        "roadbed_ttft_error_ratio",
        "histogram",
        "Time to first token after sending, over what was predicted.",
        ("service",),
        _RATIO,
    ),
    Family("roadbed_tpot_seconds", "histogram", "Time per output token after the first.", ("service",), _TOKEN),
    Family("roadbed_request_seconds", "histogram", "Whole request.", ("service",), _SECONDS),
    Family(
        "roadbed_queue_seconds",
        "histogram",
        "Wait of requests that had to queue in the gateway.",
        ("service",),
        _SECONDS,
    ),
    Family("roadbed_overhead_seconds", "histogram", "Our own time per request.", ("service",), _FINE),
    Family("roadbed_connections", "gauge", "Open client connections."),
    Family("roadbed_inflight_requests", "gauge", "Requests at a replica.", ("service", "replica")),
    Family("roadbed_queued_requests", "gauge", "Requests waiting in the gateway.", ("service",)),
    Family("roadbed_replicas_ready", "gauge", "Replicas that may receive requests.", ("service",)),
    Family("roadbed_replicas_desired", "gauge", "Replicas wanted, by hand or by load.", ("service",)),
    Family("roadbed_ledger_open_requests", "gauge", "Requests begun and not yet settled."),
)
_BY_NAME: Final = {family.name: family for family in FAMILIES}

Numbers = dict[str, list[tuple[Labels, list[float]]]]


class Histogram(dict[Labels, list[float]]):
    """Label values → bucket counts, then overflow, sum and count."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        super().__init__()
        self._bounds = bounds

    def observe(self, labels: Labels, value: float) -> None:
        """Counts one value."""
        observe(self.row(labels), self._bounds, value)

    def row(self, labels: Labels) -> list[float]:
        """The row itself, for `observe`; it stays the same object."""
        row = self.get(labels)
        if row is None:
            row = self[labels] = [0.0] * (len(self._bounds) + 3)
        return row


def observe(row: list[float], bounds: tuple[float, ...], value: float) -> None:
    """Counts one value in a histogram's row. Most values are in the first buckets, so they are tried in turn."""
    index = 0
    for bound in bounds:
        if value <= bound:
            break
        index += 1
    row[index] += 1.0
    row[-2] += value
    row[-1] += 1.0


class Counter(dict[Labels, float]):
    """Label values → number."""

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Adds to one row."""
        self[labels] = self.get(labels, 0) + amount

    def __missing__(self, labels: Labels) -> float:
        return 0  # so that `counter[labels] += 1` counts, without a call, on the hot path


class Tally:
    """What one service's requests add up to since the last `flush`.

    answered: by endpoint, those that ended well. routes: decisions by reason. The rows are those of the histograms.
    """

    __slots__ = (
        "_policy", "_service", "answered", "cached_tokens", "completion_tokens", "overhead", "prompt_tokens", "request",
        "routes",
    )  # fmt: skip

    def __init__(self, metrics: "Metrics", service: str, policy: str) -> None:
        self._service = service
        self._policy = policy
        self.answered: dict[str, int] = {}
        self.routes: dict[str, int] = {}
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.overhead = metrics.overhead.row((service,))
        self.request = metrics.request.row((service,))

    def settled(
        self, overhead_s: float, total_s: float, prompt_tokens: int, cached_tokens: int, completion_tokens: int
    ) -> None:
        """A request is over, however."""
        observe(self.overhead, _FINE, overhead_s)
        observe(self.request, _SECONDS, total_s)
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        self.completion_tokens += completion_tokens

    def flush(self, metrics: "Metrics") -> None:
        """Adds the counts to the families and begins anew."""
        service = self._service
        for endpoint, number in self.answered.items():
            metrics.requests.add((service, endpoint, 200), number)
            metrics.outcomes.add((service, "ok"), number)
        for reason, number in self.routes.items():
            metrics.routes.add((service, self._policy, reason), number)
        if self.prompt_tokens:
            metrics.tokens.add((service, "prompt"), self.prompt_tokens)
            metrics.tokens.add((service, "cached"), self.cached_tokens)
            metrics.tokens.add((service, "completion"), self.completion_tokens)
        self.answered.clear()
        self.routes.clear()
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0


class Metrics:
    """All families of one worker; attributes are the families' names without prefix and unit."""

    def __init__(self) -> None:
        self.requests = Counter()
        self.outcomes = Counter()
        self.routes = Counter()
        self.retries = Counter()
        self.limited = Counter()
        self.tokens = Counter()
        self.connections = Counter()
        self.inflight = Counter()
        self.queued = Counter()
        self.replicas_ready = Counter()
        self.replicas_desired = Counter()
        self.open_requests = Counter()
        self.ttft = Histogram(_SECONDS)
        self.ttft_predicted = Histogram(_SECONDS)
        self.ttft_error = Histogram(_RATIO)
        self.tpot = Histogram(_TOKEN)
        self.request = Histogram(_SECONDS)
        self.queue = Histogram(_SECONDS)
        self.overhead = Histogram(_FINE)
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._families: dict[str, Counter | Histogram] = {
            "roadbed_requests_total": self.requests,
            "roadbed_outcomes_total": self.outcomes,
            "roadbed_routes_total": self.routes,
            "roadbed_retries_total": self.retries,
            "roadbed_limited_total": self.limited,
            "roadbed_tokens_total": self.tokens,
            "roadbed_connections": self.connections,
            "roadbed_inflight_requests": self.inflight,
            "roadbed_queued_requests": self.queued,
            "roadbed_replicas_ready": self.replicas_ready,
            "roadbed_replicas_desired": self.replicas_desired,
            "roadbed_ledger_open_requests": self.open_requests,
            "roadbed_ttft_seconds": self.ttft,
            "roadbed_ttft_predicted_seconds": self.ttft_predicted,
            "roadbed_ttft_error_ratio": self.ttft_error,
            "roadbed_tpot_seconds": self.tpot,
            "roadbed_request_seconds": self.request,
            "roadbed_queue_seconds": self.queue,
            "roadbed_overhead_seconds": self.overhead,
        }

    def tally(self, service: str, policy: str) -> Tally:
        """Where the requests of a service under a routing policy are counted; always the same one."""
        tally = self._tallies.get((service, policy))
        if tally is None:
            tally = self._tallies[service, policy] = Tally(self, service, policy)
        return tally

    def numbers(self) -> Numbers:
        """A copy of everything, as saved and merged."""
        for tally in self._tallies.values():
            tally.flush(self)
        return {
            name: [(labels, list(v) if isinstance(v, list) else [v]) for labels, v in family.items()]
            for name, family in self._families.items()
        }

    def restore(self, numbers: Numbers) -> None:
        """Goes on from saved counters and histograms (gauges are of the moment)."""
        for name, rows in numbers.items():
            family, target = _BY_NAME.get(name), self._families.get(name)
            if family is None or family.kind == "gauge":
                continue
            for labels, values in rows:
                if isinstance(target, Histogram) and len(values) == len(family.bounds) + 3:
                    target.row(labels)[:] = values
                elif isinstance(target, Counter) and len(values) == 1:
                    target[labels] = values[0]

    def save(self, path: Path) -> None:
        """Writes the numbers by atomic rename."""
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(self.numbers()))
        temporary.replace(path)


def load(path: Path) -> Numbers:
    """Saved numbers; none when the file is missing or was written by another version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Numbers)
    except (OSError, msgspec.DecodeError):
        return {}


def merged(parts: Iterable[Numbers]) -> Numbers:
    """Sums of all workers' numbers. Histograms of another version's buckets, left by an upgrade, are passed over."""
    sums: dict[str, dict[Labels, list[float]]] = {}
    for part in parts:
        for name, rows in part.items():
            family = sums.setdefault(name, {})
            for labels, values in rows:
                old = family.get(labels)
                if old is None:
                    family[labels] = values
                elif len(old) == len(values):
                    family[labels] = [a + b for a, b in zip(old, values, strict=True)]
    return {name: sorted(rows.items()) for name, rows in sums.items()}


def render(numbers: Numbers) -> bytes:
    """Prometheus text exposition format 0.0.4."""
    lines: list[str] = []
    for family in FAMILIES:
        rows = numbers.get(family.name, [])
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, values in rows:
            pairs = [f'{key}="{_escape(value)}"' for key, value in zip(family.labels, labels, strict=True)]
            if family.kind == "histogram":
                lines.extend(_histogram_lines(family, pairs, values))
            else:
                lines.append(f"{family.name}{_braces(pairs)} {_number(values[0])}")
    return ("\n".join(lines) + "\n").encode()


def _histogram_lines(family: Family, pairs: list[str], values: list[float]) -> Iterable[str]:
    cumulative = 0.0
    for bound, count in zip(family.bounds, values, strict=False):
        cumulative += count
        edge = f'le="{bound:g}"'
        yield f"{family.name}_bucket{_braces([*pairs, edge])} {_number(cumulative)}"
    edge = 'le="+Inf"'
    yield f"{family.name}_bucket{_braces([*pairs, edge])} {_number(values[-1])}"
    yield f"{family.name}_sum{_braces(pairs)} {values[-2]:.9g}"
    yield f"{family.name}_count{_braces(pairs)} {_number(values[-1])}"


def _braces(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.9g}"


def _escape(value: str | int) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def saved_files(run_dir: Path) -> list[Path]:
    """Metrics files of all workers."""
    return sorted(run_dir.glob("metrics-*.json"))
