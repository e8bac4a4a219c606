"""Sizes, durations and ranges as people write them: `2GB`, `512MiB`, `1.5s`, `10 minutes`, `1..4`.

Parsing is strict: a number without a unit is taken as the base unit (bytes, seconds), anything unknown raises
ValueError naming the accepted units. Nothing is clamped.
"""

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$")

BYTE_UNITS: dict[str, int] = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
SECOND_UNITS: dict[str, float] = {
    "": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip


def parse_bytes(value: Any) -> int:
    """`"2GB"` → 2000000000. Raises ValueError on negative, fractional bytes or unknown units."""
    scaled = _parse(value, BYTE_UNITS, "a size such as 512MiB or 2GB")
    if scaled != int(scaled):
        raise ValueError(f"{value!r} is not a whole number of bytes")
    return int(scaled)


def parse_seconds(value: Any) -> float:
    """`"250ms"` → 0.25. Raises ValueError on negative values or unknown units."""
    return float(_parse(value, SECOND_UNITS, "a duration such as 250ms, 2s or 10 minutes"))


def _parse(value: Any, units: dict[str, Any], expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {expected}")
    if not isinstance(value, str):
        # Not through text: 0.00001 would read "1e-05".
        if not 0 <= value < float("inf"):
            raise ValueError(f"{value!r} is not {expected}")
        return float(value)
    match = _NUMBER.match(value)
    if match is None:
        raise ValueError(f"{value!r} is not {expected}")
    # Whole numbers stay exact: as floats, terabytes would lose bytes beyond 2**53.
    number, unit = float(match[1]) if "." in match[1] else int(match[1]), match[2].lower()
    if unit not in units:
        raise ValueError(f"unknown unit {match[2]!r} in {value!r}; expected {expected}")
    scaled: float = number * units[unit]
    return scaled


def _written(number: str, *examples: str) -> WithJsonSchema:
    """What editors accept: a bare number, or text whose units the parser checks."""
    text = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[A-Za-z]*\s*$"}
    return WithJsonSchema({"anyOf": [{"type": number, "minimum": 0}, text], "examples": list(examples)})


Bytes = Annotated[int, BeforeValidator(parse_bytes), _written("integer", "512MiB", "2GB")]
Seconds = Annotated[float, BeforeValidator(parse_seconds), _written("number", "250ms", "2s", "10 minutes")]


class IntRange(BaseModel):
    """An inclusive range of counts, written `2`, `1..4`, or `{min: 1, max: 4}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int
    max: int

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("expected a count such as 2 or a range such as 1..4")
        if isinstance(value, int):
            return {"min": value, "max": value}
        if isinstance(value, str):
            match = re.match(r"^\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?$", value)
            if match is None:
                raise ValueError(f"{value!r} is not a count such as 2 or a range such as 1..4")
            return {"min": int(match[1]), "max": int(match[2] or match[1])}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "IntRange":
        if not 0 <= self.min <= self.max:
            raise ValueError(f"range {self.min}..{self.max} must satisfy 0 ≤ min ≤ max")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """All three ways to write it."""
        written = handler.resolve_ref_schema(handler(core_schema))
        pattern = r"^\s*[0-9]+\s*(\.\.\s*[0-9]+\s*)?$"
        ways = [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}, written]
        return {"anyOf": ways}

    @model_serializer
    def _write(self) -> int | str:
        return self.min if self.min == self.max else f"{self.min}..{self.max}"
