"""YAML text → plain values and the line of every key, without running anything the text asks for.

Built on PyYAML's event stream: no constructors, no tags with side effects, no recursion deeper than a limit, and
aliases are counted as if written out, so neither a bomb nor a tower gets far. The trade-off is our own few lines of
scalar rules (YAML 1.2 core: `yes`, `on`, `12:30` are text), which people expect anyway.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 2**20
MAX_DEPTH = 64
MAX_NODES = 100_000

_INT = re.compile(r"^[-+]?[0-9]{1,18}$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?$")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    text: value for value, name in ((True, "true"), (False, "false")) for text in (name, name.title(), name.upper())
}
_STR_TAGS = {"!", "tag:yaml.org,2002:str"}

Path = tuple[str | int, ...]


class DocumentError(Exception):
    """Text that is not the YAML we read; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass
class Document:
    """One YAML document: its value, and the line of each path in it (() is where it begins)."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, loc: tuple[str | int, ...]) -> int:
        """The line of the deepest part of `loc` that is written; parts that are not written are passed over."""
        path: Path = ()
        for part in loc:
            if (*path, part) in self.lines:
                path = (*path, part)
        return self.lines.get(path, 1)


def read_documents(text: str) -> list[Document]:
    """All documents of a text, empty ones left out. Raises DocumentError at the first thing it can't read."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentError(f"larger than {MAX_BYTES // 2**20} MiB", 1)
    try:
        documents = list(_Reader(text).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(str(error.problem or error.context), mark.line + 1 if mark else 1) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError and OverflowError: the scanner lets chr() of an impossible \U escape through.
        raise DocumentError(str(error).splitlines()[0], 1) from error
    return [document for document in documents if document.value is not None]


class _Reader:
    """Builds values from PyYAML's events, one document at a time."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._num_nodes = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[Path, int] = {}

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors, self._lines = {}, {}
                first = next(self._events)
                self._lines[()] = first.start_mark.line + 1
                yield Document(self._node(first, (), 0), self._lines)

    def _node(self, event: Any, path: Path, depth: int) -> Any:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise DocumentError(f"nested deeper than {MAX_DEPTH}", line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        before = self._count(1, line)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, path, depth)
        else:
            value = self._mapping(event, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._num_nodes - before + 1)
        return value

    def _alias(self, event: Any, line: int) -> Any:
        if event.anchor not in self._anchors:
            raise DocumentError(f"alias *{event.anchor} has no anchor before it", line)
        value, size = self._anchors[event.anchor]
        self._count(size, line)
        return value

    def _sequence(self, event: Any, path: Path, depth: int) -> list[Any]:
        _check_tag(event, "seq")
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self._lines[here] = event.start_mark.line + 1
            items.append(self._node(event, here, depth + 1))
        return items

    def _mapping(self, event: Any, path: Path, depth: int) -> dict[str, Any]:
        _check_tag(event, "map")
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError("a key must be plain text", line)
            self._count(1, line)
            key = event.value
            if key in items:
                raise DocumentError(f"key {key!r} is written twice (first on line {self._lines[(*path, key)]})", line)
            self._lines[(*path, key)] = line
            items[key] = self._node(next(self._events), (*path, key), depth + 1)
        return items

    def _count(self, num: int, line: int) -> int:
        self._num_nodes += num
        if self._num_nodes > MAX_NODES:
            raise DocumentError(f"more than {MAX_NODES} values once aliases are written out", line)
        return self._num_nodes


def _check_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, "!", f"tag:yaml.org,2002:{kind}"):
        raise DocumentError(f"tag {event.tag!r} is not supported", event.start_mark.line + 1)


def _scalar(event: Any, line: int) -> Any:
    text: str = event.value
    if event.tag in _STR_TAGS or (event.tag is None and not event.implicit[0]):
        return text
    if event.tag is not None:
        raise DocumentError(f"tag {event.tag!r} is not supported", line)
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text) and not text.lstrip("+-").isdigit() and math.isfinite(number := float(text)):
        return number
    return text
