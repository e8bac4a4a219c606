"""How people ask for accelerators, and the one form everything else sees.

    H100:8                       eight H100
    gpu: 2 · 2                   two of any kind
    gpu: 0.5 · 0.5               half of one device, of any kind
    T4:0.25                      a quarter of a T4
    any of [H100, H800]:8        eight of one of these kinds
    24GB..  24GB..80GB:2  ..16GB devices by their memory
    A100 40GB..60GB:4            both
    {any_of: [H100, H800], memory: 60GB.., count: 8}

One parser reads all of them; `str()` of the result is the canonical text, which parses to the same value. A family name
(`A100`) becomes its chips, so nobody after the parser knows about families. Without a chip any accelerator will do, but
never `cpu`, which has to be asked for by name.

Memory in GB is what vendors print, which lies between 10⁹ and 2³⁰ bytes: a lower bound counts in the smaller, an upper
bound in the larger, so that `24GB..` finds a device sold as 24 GB and `..24GB` does too. GiB and MiB are exact.
"""

import math
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from roadbed.errors import NotFoundError
from roadbed.hardware.chips import CPU, resolve

MAX_COUNT = 1_000_000
MAX_TEXT = 8192
MAX_CHIPS = 64
_ANY = {"gpu", "any"}
_UNITS = {"mib": 2**20, "gib": 2**30, "tib": 2**40, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LARGER = {"mb": 2**20, "gb": 2**30, "tb": 2**40}
_KEYS = ("chip", "any_of", "memory", "count")
_EXPECTED = "accelerators such as H100:8, gpu: 0.5, any of [H100, H800]:8 or 24GB..80GB:2"

_COUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_LIST = re.compile(r"any of ?\[([^\[\]]*)\]", re.I)
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([kmgt]i?b)", re.I | re.ASCII)
_MEMORY_START = re.compile(r"(?:^|\s)(?=\.\.|[0-9.]+ ?[kmgt]i?b)", re.I)
"""Where memory begins: no name does, not even `910B`."""


class Accelerators(msgspec.Struct, frozen=True, kw_only=True):
    """What one process needs: `num` devices, `milli` thousandths of each (below 1000 only of one device)."""

    num: int
    milli: int = 1000
    chips: tuple[str, ...] = ()
    """Kinds that will do, sorted; () = any accelerator but `cpu`. All devices are of one kind."""
    min_memory_mib: int = 0
    """Of one device; 0 = no bound."""
    max_memory_mib: int = 0

    def allows(self, chip: str, device_memory_mib: int) -> bool:
        """Whether devices of this kind will do. Unknown memory (0) meets no bound."""
        if (chip not in self.chips) if self.chips else (chip in ("", CPU)):
            return False
        if not self.min_memory_mib and not self.max_memory_mib:
            return True
        high = self.max_memory_mib or math.inf
        return device_memory_mib > 0 and self.min_memory_mib <= device_memory_mib <= high

    def __str__(self) -> str:
        """The canonical text."""
        count = str(self.num) if self.milli == 1000 else f"{Decimal(self.milli) / 1000}"
        bounds = _bound_text(self.min_memory_mib, upper=False), _bound_text(self.max_memory_mib, upper=True)
        memory = "..".join(bounds) if any(bounds) else ""
        names = self.chips[0] if len(self.chips) == 1 else f"any of [{', '.join(self.chips)}]" if self.chips else ""
        what = " ".join(part for part in (names, memory) if part) or "gpu"
        return f"{what}:{count}"


def parse_accelerators(value: Any, chips: Collection[str] = ()) -> Accelerators:
    """Reads any of the ways above. `chips` are names of chips outside the catalogue. Raises ValueError."""
    if isinstance(value, Accelerators):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str | Mapping):
        raise ValueError(f"expected {_EXPECTED}")
    if isinstance(value, Mapping):
        return _from_mapping(value, chips)
    if not isinstance(value, str):
        num, milli = _count(value)
        return Accelerators(num=num, milli=milli)
    text = " ".join(value.split())
    if not text or len(text) > MAX_TEXT:
        raise ValueError(f"{_short(value)} is not {_EXPECTED}")
    return _from_text(text, chips)


def parse_device_memory(value: Any) -> int:
    """Memory of a device as sold, in MiB: `80GB` and `80GiB` are 81,920. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("expected the memory of a device, such as 80GB")
    return _mib(value.strip(), upper=True)


def _from_text(text: str, chips: Collection[str]) -> Accelerators:
    """`[names] [memory] [:count]`, or a count alone."""
    if _COUNT.fullmatch(text):
        num, milli = _count(text)
        return Accelerators(num=num, milli=milli)
    what, colon, count = text.rpartition(":")
    what = what.strip() if colon else text
    num, milli = _count(count.strip()) if colon else (1, 1000)
    low = high = 0
    if found := _MEMORY_START.search(what, what.rfind("]") + 1):
        low, high = _memory(what[found.end() :].strip())
        what = what[: found.start()].strip() or "gpu"
    named = _names_of(what, chips)
    return Accelerators(num=num, milli=milli, chips=named, min_memory_mib=low, max_memory_mib=high)


def _names_of(text: str, chips: Collection[str]) -> tuple[str, ...]:
    if text.casefold() in _ANY:
        return ()
    if found := _LIST.fullmatch(text):
        return _chips([part.strip() for part in found[1].split(",")], chips)
    if not _NAME.fullmatch(text):
        raise ValueError(f"{_short(text)} is not {_EXPECTED}")
    return _chips([text], chips)


def _from_mapping(value: Mapping[Any, Any], chips: Collection[str]) -> Accelerators:
    if wrong := [key for key in value if key not in _KEYS]:
        raise ValueError(f"{_short(wrong[0])} is not a key of accelerators; keys are {', '.join(_KEYS)}")
    if "chip" in value and "any_of" in value:
        raise ValueError("chip and any_of say the same; keep one")
    named: tuple[str, ...] = ()
    if "any_of" in value:
        listed = value["any_of"]
        if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
            raise ValueError("any_of must be a list of chips, such as [H100, H800]")
        named = _chips(list(listed), chips)
    elif "chip" in value:
        if not isinstance(value["chip"], str):
            raise ValueError("chip must be a name such as H100")
        named = _names_of(value["chip"].strip(), chips)
    low = high = 0
    if "memory" in value:
        if not isinstance(value["memory"], str):
            raise ValueError("memory must be a range such as 24GB.. or 24GB..80GB")
        low, high = _memory(" ".join(value["memory"].split()))
    num, milli = _count(value.get("count", 1))
    return Accelerators(num=num, milli=milli, chips=named, min_memory_mib=low, max_memory_mib=high)


def _chips(names: list[str], known: Collection[str]) -> tuple[str, ...]:
    found: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{_short(name)} is not the name of a chip")
        try:
            found.update(resolve(name, known))
        except NotFoundError as error:
            raise ValueError(error.message) from error
    if not 1 <= len(found) <= MAX_CHIPS:
        raise ValueError(f"any of needs 1 to {MAX_CHIPS} chips")
    return tuple(sorted(found))


def _count(value: Any) -> tuple[int, int]:
    """(devices, thousandths of each)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("count must be a number of devices, or a fraction of one")
    text = value.strip() if isinstance(value, str) else f"{Decimal(repr(value)):f}" if abs(value) < 1e12 else ""
    if not _COUNT.fullmatch(text):
        raise ValueError(
            f"{_short(value)} is not a number of devices (1 to {MAX_COUNT}) or a fraction of one (0.001 to 1)"
        )
    milli = Decimal(text) * 1000
    if not 0 < milli <= MAX_COUNT * 1000:
        raise ValueError(f"{_short(value)} devices: ask for 1 to {MAX_COUNT}, or for a fraction of one (0.001 to 1)")
    if milli != int(milli):
        raise ValueError(f"{_short(value)} devices: fractions are thousandths of a device")
    if milli < 1000:
        return 1, int(milli)
    if milli % 1000:
        raise ValueError(f"{_short(value)} devices: only one device can be shared; ask for whole devices or below 1")
    return int(milli) // 1000, 1000


def _memory(text: str) -> tuple[int, int]:
    """Bounds in MiB of `24GB..80GB`, `24GB..`, `..80GB` or `24GB` (what is sold as that)."""
    low_text, dots, high_text = (part.strip() for part in text.partition(".."))
    if not low_text and not high_text:
        raise ValueError(f"{_short(text)} has no bound; write 24GB.., ..80GB or 24GB..80GB")
    low = _mib(low_text, upper=False) if low_text else 0
    high = _mib(high_text or low_text, upper=True) if high_text or not dots else 0
    if high and low > high:
        raise ValueError(f"{_short(text)}: the lower bound is above the upper one")
    return low, high


def _mib(text: str, upper: bool) -> int:
    match = _MEMORY.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in _UNITS:
        raise ValueError(f"{_short(text)} is not the memory of a device, such as 24GB or 40GiB")
    num_bytes = Decimal(match[1]) * (_LARGER.get(unit, _UNITS[unit]) if upper else _UNITS[unit])
    mib = math.floor(num_bytes / 2**20) if upper else math.ceil(num_bytes / 2**20)
    if mib < 1:
        raise ValueError(f"{_short(text)} is no memory at all")
    return mib


def _bound_text(mib: int, upper: bool) -> str:
    """The shortest text that reads back as this bound, "" for none."""
    if not mib:
        return ""
    text = f"{mib // 1024 if upper else mib * 2**20 // 10**9}GB"
    return text if text != "0GB" and _mib(text, upper) == mib else f"{mib}MiB"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _validate(value: Any, info: ValidationInfo) -> Accelerators:
    return parse_accelerators(value, (info.context or {}).get("chips", ()))


_SCHEMA = {
    "anyOf": [
        {"type": "string", "maxLength": MAX_TEXT},
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_COUNT},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "chip": {"type": "string"},
                "any_of": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "memory": {"type": "string"},
                "count": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]},
            },
            "not": {"required": ["chip", "any_of"]},
        },
    ],
    "examples": ["H100:8", "any of [H100, H800]:8", "24GB..80GB:2", 0.5],
}

AcceleratorRequest = Annotated[
    Accelerators,
    PlainValidator(_validate),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(_SCHEMA),
]
"""For pydantic models: reads what people write (context `chips`: names outside the catalogue), writes the canonical."""
