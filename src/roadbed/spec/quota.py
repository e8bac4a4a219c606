"""`kind: quota` — who may use how much: a tree of guarantees, ceilings and rules for borrowing.

kind: quota
name: nlp
parent: research
resources: {H100: 16..64, gpu: {max: 100}, cpu: 200..}
weight: 2
preemption: {between_siblings: true}

A guarantee (`min`) is there whenever it is asked for; what nobody asks for may be lent; nobody has more than `max`.
`gpu` counts accelerators of every kind, those named by chip too. Names are unique in the whole tree, so a quota is one
document that says only its parent; its path (`research/nlp`) follows. One document can't see the tree: `check_tree`
does.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from roadbed.errors import NotFoundError, SpecError
from roadbed.hardware.chips import resolve
from roadbed.spec.base import MAX_QUOTA_DEPTH, Name, Spec
from roadbed.spec.quantity import Seconds

GPU, CPU = "gpu", "cpu"
_SHARE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(?:(\.\.)\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)?\s*)?", re.ASCII)
Amount = Annotated[float, Field(ge=0, le=10**9)]


class Share(Spec):
    """What a quota has of one resource: `16..64`, `16..` (no ceiling), `16` (exactly), `{min: 16, max: 64}`."""

    min: Amount = 0.0
    """Guaranteed."""
    max: Amount | None = None
    """Ceiling; none = as much as the parent has."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"min": value, "max": value}
        if isinstance(value, str):
            match = _SHARE.fullmatch(value)
            if match is None:
                raise ValueError(f"{value!r} is not an amount such as 16, 16..64 or 16..")
            high = match[3] if match[2] else match[1]
            return {"min": float(match[1]), "max": None if high is None else float(high)}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "Share":
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """All the ways to write it."""
        written = handler.resolve_ref_schema(handler(core_schema))
        amount = r"[0-9]{1,9}(\.[0-9]{1,3})?"
        text = {"type": "string", "pattern": rf"^\s*{amount}\s*(\.\.\s*({amount})?\s*)?$"}
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 10**9}, text, written]}

    @model_serializer
    def _write(self) -> dict[str, float | None]:
        return {"min": self.min, "max": self.max}


class Preemption(Spec):
    """Who may take back what was lent."""

    between_siblings: bool = False
    """This quota's waiting work may stop what siblings run above their own guarantee, to reach its own."""
    of_children: bool = False
    """Work of high priority may stop work of lower priority in the quotas below this one."""


def _check_resource(name: str, info: ValidationInfo) -> str:
    if name in (GPU, CPU):
        return name
    try:
        found = resolve(name, (info.context or {}).get("chips", ()))
    except NotFoundError as error:
        raise ValueError(f"{error.message}; resources are {CPU}, {GPU} and chips") from error
    if len(found) > 1:
        raise ValueError(f"{name} is a family; name its chips: {', '.join(found)}")
    return found[0]


Resource = Annotated[str, AfterValidator(_check_resource)]


class Quota(Spec):
    """A part of the pool that a team may use."""

    kind: Literal["quota"] = "quota"
    name: Name
    parent: Name | None = None
    """None = a root."""
    resources: dict[Resource, Share] = {}
    """By chip, `gpu` (accelerators of every kind) or `cpu` (cores). What is not named: no guarantee, no ceiling."""
    weight: Annotated[float, Field(gt=0, le=10**6)] = 1.0
    """Share of what siblings lend, against theirs."""
    lending: bool = True
    """Others may use its guarantee while nobody here asks for it."""
    strategy: Literal["fifo", "traverse", "balance", "intelligent"] = "intelligent"
    """Who is tried when the first in the queue does not fit: nobody; the next ones; a window that widens with waiting;
    nobody for priorities from 7, the next ones below, which age up to 6."""
    preemption: Preemption = Preemption()
    backfill: Literal["off", "easy", "conservative"] = "easy"
    """Who may start out of turn in a gap: nobody; who does not delay the first; who does not delay anybody."""
    half_life: Annotated[Seconds, Field(gt=0)] | None = None
    """Past use counts half after this long when what is lent is shared; none = only present use counts."""

    @field_validator("resources", mode="wrap")
    @classmethod
    def _one_share_each(cls, value: Any, read: ValidatorFunctionWrapHandler) -> dict[str, Share]:
        shares: dict[str, Share] = read(value)
        if len(shares) != len(value):
            raise ValueError(f"two keys mean the same resource; it has {', '.join(sorted(shares))}")
        return shares

    @model_validator(mode="after")
    def _adds_up(self) -> "Quota":
        if self.parent == self.name:
            raise ValueError(f"quota {self.name!r} is its own parent")
        total = self.resources.get(GPU)
        named = sum(share.min for name, share in self.resources.items() if name not in (GPU, CPU))
        if total is not None and total.max is not None and named > total.max:
            raise ValueError(f"resources: chips are guaranteed {named:g} in all, above gpu's max {total.max:g}")
        return self

    def guaranteed(self, resource: str) -> float:
        """The `min` of a resource. For `gpu`: what is written, or the sum of its chips where that is more."""
        written = self.resources[resource].min if resource in self.resources else 0.0
        if resource != GPU:
            return written
        return max(written, sum(share.min for name, share in self.resources.items() if name not in (GPU, CPU)))


def check_tree(quotas: Iterable[Quota]) -> None:
    """Raises SpecError naming every quota that has no place in the tree, or whose children are promised more than it.

    O(quotas × resources).
    """
    quotas = list(quotas)
    by_name: dict[str, Quota] = {}
    problems: list[str] = []
    for quota in quotas:
        if by_name.setdefault(quota.name, quota) is not quota:
            problems.append(f"quota {quota.name!r} is there twice")
    problems.extend(_misplaced(by_name))
    if not problems:
        children: dict[str, list[Quota]] = {}
        for quota in quotas:
            if quota.parent is not None:
                children.setdefault(quota.parent, []).append(quota)
        for name, below in sorted(children.items()):
            problems.extend(_promised_too_much(by_name[name], below))
    if problems:
        raise SpecError("\n".join(problems), hint="roadbed schema quota", field="parent")


def paths(quotas: Iterable[Quota]) -> dict[str, Quota]:
    """Quotas by path (`research/nlp`), parents before children, siblings by name. Raises SpecError as `check_tree`."""
    quotas = list(quotas)
    check_tree(quotas)
    children: dict[str | None, list[Quota]] = {}
    for quota in sorted(quotas, key=lambda quota: quota.name, reverse=True):
        children.setdefault(quota.parent, []).append(quota)
    found: dict[str, Quota] = {}
    waiting = [(quota.name, quota) for quota in children.get(None, [])]
    while waiting:
        path, quota = waiting.pop()
        found[path] = quota
        waiting.extend((f"{path}/{child.name}", child) for child in children.get(quota.name, []))
    return found


def _misplaced(by_name: Mapping[str, Quota]) -> Iterator[str]:
    """Unknown parents, cycles (each once, beginning at its first name), and what is too deep."""
    settled: dict[str, int] = {}
    """Depth of what hangs on a root; 0 for what does not, which has been said."""
    for name in sorted(by_name):
        trail: list[str] = []
        here: str | None = name
        while here is not None and here in by_name and here not in settled and here not in trail:
            trail.append(here)
            here = by_name[here].parent
        depth = settled.get(here, 0) if here is not None else 0
        lost = here is not None and depth == 0
        if here in trail:
            circle = trail[trail.index(here) :]
            yield f"quota {circle[0]!r} is its own ancestor: {' → '.join([*circle, circle[0]])}"
        elif here is not None and here not in by_name:
            close = difflib.get_close_matches(here, by_name, n=1)
            words = f"; did you mean {close[0]!r}?" if close else ""
            yield f"quota {trail[-1]!r}: there is no parent {here!r}{words}"
        for one in reversed(trail):
            depth += 1
            settled[one] = 0 if lost else depth
            if not lost and depth == MAX_QUOTA_DEPTH + 1:
                yield f"quota {one!r} is deeper than {MAX_QUOTA_DEPTH} quotas"


def _promised_too_much(parent: Quota, children: Sequence[Quota]) -> Iterator[str]:
    """Resources of which the children are guaranteed more than the parent.

    A chip that the parent does not name is covered by its `gpu`; the total is only worth a word when the chips add up.
    """
    named = {name for child in children for name in child.resources} - {GPU}
    chips_add_up = True
    for name in sorted(named):
        covered_by_gpu = name != CPU and name not in parent.resources and GPU in parent.resources
        if not covered_by_gpu and (words := _shortfall(parent, children, name)):
            chips_add_up = chips_add_up and name == CPU
            yield words
    if chips_add_up and (words := _shortfall(parent, children, GPU)):
        yield words


def _shortfall(parent: Quota, children: Sequence[Quota], resource: str) -> str:
    promised, has = sum(child.guaranteed(resource) for child in children), parent.guaranteed(resource)
    if promised <= has + 1e-9:
        return ""
    each = " + ".join(
        f"{child.name} {child.guaranteed(resource):g}" for child in children if child.guaranteed(resource)
    )
    return f"quota {parent.name!r} has {has:g} {resource} guaranteed, its children {promised:g} ({each})"
