"""Reads the Prometheus text format engines publish; bounded, and forgiving of lines it does not know.

A metrics page is a hint about load, never a reason to fail: a line that does not parse is skipped.
"""

import re
from collections.abc import Iterator

import msgspec

MAX_SAMPLES = 20_000

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


class Sample(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """Every readable sample, at most MAX_SAMPLES. Never raises."""
    samples: list[Sample] = []
    for sample in _samples(text):
        samples.append(sample)
        if len(samples) >= MAX_SAMPLES:
            break
    return samples


def total(samples: list[Sample], name: str) -> float | None:
    """Sum over all label sets (engines publish one per data-parallel rank); None when there is no such metric."""
    values = [sample.value for sample in samples if sample.name == name]
    return sum(values) if values else None


def _samples(text: str) -> Iterator[Sample]:
    for line in text.split("\n"):  # not splitlines: a label value may hold \x0b, \x85 or \u2028
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        yield Sample(match[1], _labels(match[2] or ""), value)


def _labels(text: str) -> dict[str, str]:
    return {
        match[1]: re.sub(r"\\[n\"\\]", lambda escape: _ESCAPES[escape[0]], match[2]) for match in _LABEL.finditer(text)
    }
