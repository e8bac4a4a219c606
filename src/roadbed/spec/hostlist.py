"""Many names in one: `gpu[000-127]` is a hundred and twenty-eight nodes, `r[0-1]-n[00-15,20]` thirty-four.

The form operators know from Slurm. Numbers keep the width of the range's first one. A range that is empty or overlaps
another is an error, never a silent shorter list.
"""

import itertools
import re
from collections.abc import Iterator

_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)


def expand(pattern: str, limit: int) -> list[str]:
    """The names a pattern stands for, in order. Raises ValueError for what is no pattern or more than `limit` names."""
    parts: list[list[str]] = []
    num, end = 1, 0
    for match in _PART.finditer(pattern):
        if match.start() != end:
            break
        end = match.end()
        parts.append([match[2]] if match[2] is not None else _numbers(match[1], pattern, limit))
        num *= len(parts[-1])
        if num > limit:
            raise ValueError(f"{_short(pattern)} stands for more than {limit} nodes")
    if end != len(pattern) or not parts:
        raise ValueError(f"{_short(pattern)} is not a name such as gpu7 or gpu[000-127]")
    names = ["".join(pieces) for pieces in itertools.product(*parts)]
    for name in names:
        if not _HOST.fullmatch(name):
            raise ValueError(f"{_short(name)} is not the name of a node: letters, digits, '.', '_', '-'")
    if len(set(names)) != len(names):
        raise ValueError(f"{_short(pattern)} names a node twice")
    return names


def _numbers(text: str, pattern: str, limit: int) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for part in text.split(","):
        for number in _range(part, pattern, limit - len(found)):
            if number in seen:
                raise ValueError(f"{_short(pattern)}: ranges overlap at {number}")
            seen.add(number)
            found.append(number)
    return found


def _range(part: str, pattern: str, limit: int) -> Iterator[str]:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ValueError(f"{_short(pattern)}: {_short(part)} is not a range such as 000-127")
    low, high = int(match[1]), int(match[2] or match[1])
    if high < low:
        raise ValueError(f"{_short(pattern)}: the range {part.strip()} is empty")
    if high - low >= limit:
        raise ValueError(f"{_short(pattern)} stands for more nodes than can be described")
    width = len(match[1])
    return (f"{number:0{width}d}" for number in range(low, high + 1))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
