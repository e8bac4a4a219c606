"""`kind: task` — any command on a gang of processes that start together or not at all.

kind: task
name: pretrain
command: [python, train.py]
processes: 64
resources: {cpu: 8, memory: 64GiB, accelerators: H100:1}
topology: {required: pod, preferred: segment, slices: [{each: 8, in: server}, {each: 32, in: segment}]}
quota: research/nlp
max_duration: 4h
checkpoint_every: 30m

Slices count accelerators where a process has whole ones, else processes: people think in the size of a tensor-parallel
group, not in how many processes that happens to be. `slices_in_processes` is what placement works with.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from roadbed.spec.base import Complaints, Name, QuotaPath, Spec
from roadbed.spec.quantity import IntRange, Seconds
from roadbed.spec.service import Priority, Resources

MAX_PROCESSES = 100_000
Level = Literal["island", "server", "segment", "pod"]
_RANKS: dict[Level, int] = {"island": 0, "server": 0, "segment": 1, "pod": 2}
"""From narrow to wide. An island may be part of a server or span several, so neither is the wider."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
LAUNCHER_VARIABLES = frozenset({"MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"})
"""Set for every process by the launcher."""


def _check_text(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character, which no process can be given")
    return value


def _check_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    if name in LAUNCHER_VARIABLES:
        raise ValueError(f"{name} is set by the launcher for each process")
    return name


def _check_positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


Text = Annotated[str, AfterValidator(_check_text)]
Variable = Annotated[str, AfterValidator(_check_variable)]
Positive = Annotated[Seconds, AfterValidator(_check_positive)]


class Slice(Spec):
    """Every so many neighbours in rank lie together."""

    model_config = ConfigDict(serialize_by_alias=True)

    each: Annotated[int, Field(ge=1)]
    """Accelerators, or processes where a process has none or a fraction."""
    within: Annotated[Level, Field(alias="in")]
    """What one slice must not leave."""


class Topology(Spec):
    """Where the gang may lie in the network."""

    required: Level | None = None
    """The whole gang lies in one of these, or waits."""
    preferred: Level | None = None
    """Tried first; the narrower the better."""
    slices: Annotated[list[Slice], Field(max_length=4)] = []
    """From small to large; each divides the next and the whole."""

    @model_validator(mode="after")
    def _narrowing(self) -> "Topology":
        found = Complaints("Topology")
        if self.required and self.preferred and _RANKS[self.preferred] > _RANKS[self.required]:
            found.add(("preferred",), f"{self.preferred} is wider than the required {self.required}")
        for index, one in enumerate(self.slices):
            if self.required and _RANKS[one.within] > _RANKS[self.required]:
                found.add(("slices", index, "in"), f"{one.within} is wider than the required {self.required}")
            if index:
                for words in _not_around(one, self.slices[index - 1]):
                    found.add(("slices", index), words)
        found.raise_any()
        return self


def _not_around(outer: Slice, inner: Slice) -> Iterator[str]:
    if outer.each <= inner.each or outer.each % inner.each:
        yield f"each: {outer.each} is not a multiple of the {inner.each} before it"
    if outer.within == inner.within or _RANKS[outer.within] < _RANKS[inner.within]:
        yield f"in: {outer.within} is not wider than the {inner.within} before it"


class Task(Spec):
    """Any command on a gang of processes."""

    kind: Literal["task"] = "task"
    name: Name
    command: Annotated[list[Text], Field(min_length=1)] | Annotated[Text, Field(min_length=1)]
    """A list is run as it is; a text is run by `sh -c`."""
    processes: Annotated[int, Field(ge=1, le=MAX_PROCESSES)] | None = None
    """Size of the gang; default 1."""
    workers: IntRange | None = None
    """An elastic gang instead, such as 2..16: it starts with what is free and may grow and shrink in between."""
    resources: Resources = Resources()
    """Of each process."""
    environment: dict[Variable, Text] = {}
    working_dir: Annotated[Text, Field(min_length=1)] | None = None
    """Default: a directory of the task's own."""
    quota: QuotaPath | None = None
    """Whose resources it uses, such as `research/nlp`; default: the root's."""
    priority: Priority = 5
    """1 to 9; 9 goes first."""
    preemptible: bool = True
    """May be stopped for others and queued again; otherwise it only runs within its quota's guarantee."""
    max_duration: Positive | None = None
    """It is stopped after this long; a short one lets it start in gaps before large gangs."""
    retries: Annotated[int, Field(ge=0, le=1000)] = 0
    """Starts after a failure. Being preempted is not a failure."""
    grace_period: Seconds = 30.0
    """Between SIGTERM and SIGKILL."""
    checkpoint_every: Positive | None = None
    """How often it saves; work since then is the cost of stopping it."""
    topology: Topology = Topology()
    node_selector: dict[str, str] = {}
    """Labels its nodes must have."""
    placement: Literal["pack", "spread"] = "pack"
    """Spread puts processes on as many nodes as it can."""

    @property
    def gang(self) -> IntRange:
        """How few and how many processes it runs with."""
        return self.workers or IntRange(min=self.processes or 1, max=self.processes or 1)

    @property
    def argv(self) -> list[str]:
        """The command as a process is given it."""
        return ["sh", "-c", self.command] if isinstance(self.command, str) else list(self.command)

    @property
    def devices_per_process(self) -> int:
        """What slices count: whole accelerators of a process, or 1 for the process itself."""
        asked = self.resources.accelerators
        return asked.num if asked is not None else 1

    @property
    def slices_in_processes(self) -> tuple[tuple[int, Level], ...]:
        """The slices from small to large, in processes."""
        return tuple((one.each // self.devices_per_process, one.within) for one in self.topology.slices)

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        found = Complaints("Task")
        if self.workers is not None and self.processes is not None:
            found.add(("workers",), "processes and workers both give the size of the gang; keep one")
        elif self.workers is not None and not 1 <= self.workers.min <= self.workers.max <= MAX_PROCESSES:
            found.add(("workers",), f"an elastic gang has 1 to {MAX_PROCESSES} workers")
        else:
            for index, one in enumerate(self.topology.slices):
                if words := self._uneven(one):
                    found.add(("topology", "slices", index, "each"), words)
        found.raise_any()
        return self

    def _uneven(self, one: Slice) -> str | None:
        per_process, unit = self.devices_per_process, "processes"
        if per_process > 1 or self.resources.accelerators is not None:
            unit = "accelerators"
        if one.each % per_process:
            return f"{one.each} splits processes, which have {per_process} accelerators each"
        sizes = sorted({self.gang.min * per_process, self.gang.max * per_process})
        if any(size % one.each for size in sizes):
            return f"{one.each} does not divide the gang of {' to '.join(map(str, sizes))} {unit}"
        return None
