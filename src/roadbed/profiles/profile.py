"""Profiles: the step-time model of one model on one accelerator, as a small JSON file with its source.

A file holds one variant per tensor-parallel degree. What was measured ends somewhere: `ranges` says where, and
`beyond` names what a workload asks outside of it, so that an extrapolated answer is never passed off as a measured one.
Names are `<accelerator>-<model>[-<dtype>]`; a pair nobody measured falls back to `analytic`, and says so.
"""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import msgspec

from roadbed.errors import NotFoundError, SpecError, UsageError
from roadbed.profiles.analytic import guess
from roadbed.profiles.model import Curve, StepModel

SCHEMA = 1
_HINT = "roadbed twin serve --help"
_MAX_BYTES = 4 << 20


class Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """The largest of each that was measured; 0 = unknown."""

    chunk_tokens: int = 0
    context_tokens: int = 0
    sequences: int = 0

    def beyond(self, *, chunk_tokens: int = 0, context_tokens: int = 0, sequences: int = 0) -> list[str]:
        """What lies outside, in words; empty = all within."""
        asked = {"chunk_tokens": chunk_tokens, "context_tokens": context_tokens, "sequences": sequences}
        found = []
        for name, value in asked.items():
            most = getattr(self, name)
            if most and value > most:
                found.append(f"{name.replace('_', ' ')} {value:,} (measured to {most:,})")
        return found


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor-parallel degree. kv_tokens: tokens the engine's KV cache holds."""

    step: StepModel
    kv_tokens: int
    kv_source: str = ""
    ranges: Ranges = Ranges()


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """measured False: computed from a data sheet, not from runs. variants: by tensor-parallel degree, as text."""

    name: str
    accelerator: str
    model: str
    dtype: str
    source: str
    licence: str
    schema: int = SCHEMA
    measured: bool = True
    fit: str = ""
    """How the coefficients came to be, and what the errors were."""
    tp: int = 1
    """The degree that is meant when none is named."""
    variants: dict[str, Variant]

    def variant(self, tp: int = 0) -> Variant:
        """The variant of a degree (0: the profile's own). UsageError naming those there are."""
        wanted = str(tp or self.tp)
        if wanted not in self.variants:
            there = ", ".join(sorted(self.variants, key=int))
            raise UsageError(
                f"{self.name} has no tensor-parallel degree {wanted}; there is {there}",
                hint=f"roadbed twin serve --profile {self.name} --tp {self.tp}",
                field="tp",
            )
        return self.variants[wanted]


def names() -> list[str]:
    """Profiles that come with the program."""
    folder = resources.files("roadbed.profiles") / "data"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def load(name: str) -> Profile:
    """A shipped profile by name, else a file, else a guess from data sheets. NotFoundError, SpecError."""
    if name in names():
        text = (resources.files("roadbed.profiles") / "data" / f"{name}.json").read_bytes()
        return decode(text, name)
    if name.endswith(".json") or "/" in name:
        return read(Path(name))
    guessed = guess(name)
    if guessed is not None:
        step, kv_tokens, accelerator, model, dtype, source = guessed
        return Profile(
            name=name, accelerator=accelerator, model=model, dtype=dtype, source=source, licence="Apache-2.0",
            measured=False, fit="roofline with usual efficiencies; nobody measured this pair",
            variants={"1": Variant(step=step, kv_tokens=kv_tokens, kv_source="memory less weights")},
        )  # fmt: skip
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"roadbed twin serve --profile {near[0]}" if near else "roadbed twin serve --help"
    raise NotFoundError(f"there is no profile {name!r}; there is {', '.join(names())}, or a file", hint=hint)


def read(path: Path) -> Profile:
    """A profile file. NotFoundError, UsageError (unreadable), SpecError (what is wrong in it)."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise SpecError(f"{path}: {size:,} bytes is no profile", hint=_HINT)
        return decode(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint=f"ls {path.parent}") from error
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", hint=f"ls -l {path}") from error


def decode(data: bytes, where: str) -> Profile:
    """A profile from JSON. SpecError naming the offending field."""
    try:
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SpecError(f"{where}: {error}", hint=_HINT) from error
    problem = _problem(profile)
    if problem:
        raise SpecError(f"{where}: {problem}", hint=_HINT)
    return profile


def encode(profile: Profile) -> bytes:
    """Indented JSON, ending with a newline."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n"


def write(profile: Profile, path: Path) -> None:
    """Saves a profile. UsageError where that can't be."""
    try:
        path.write_bytes(encode(profile))
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", hint=f"ls -ld {path.parent}") from error


def _problem(profile: Profile) -> str:
    """What makes the profile unusable, in words."""
    if profile.schema != SCHEMA:
        return f"schema {profile.schema} is not {SCHEMA}"
    if str(profile.tp) not in profile.variants:
        return f"tp: no variant for degree {profile.tp}"
    for degree, variant in profile.variants.items():
        where = f"variants.{degree}"
        if not (degree.isascii() and degree.isdigit() and int(degree) > 0):
            return f"{where}: a degree is a whole number"
        if variant.kv_tokens < 1:
            return f"{where}.kv_tokens must be at least 1"
        negative = [name for name, curve in curves(variant.step).items() if min(curve.y) < 0]
        if negative or variant.step.fixed_s < 0:
            return f"{where}.step: {', '.join(negative) or 'fixed_s'} is below 0"
        if variant.step.fixed_s + variant.step.dense.at(1) + variant.step.decode_base.at(1) <= 0:
            return f"{where}.step: an iteration of one token takes no time"
    return ""


def curves(step: StepModel) -> Mapping[str, Curve]:
    """The model's curves by name."""
    values = {name: getattr(step, name) for name in step.__struct_fields__}
    return {name: value for name, value in values.items() if isinstance(value, Curve)}
