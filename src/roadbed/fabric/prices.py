"""What the parts of a network cost and draw: a table to edit, because no list price is what anyone pays.

Every default is an estimate and says on what it rests; two relations are published facts of HPN 7.0 (SIGCOMM'24) and
hold between the defaults: multimode saves 70 % of single-mode's transceivers, and a 51.2T chip draws 45 % more than a
25.6T one. A file of the user's replaces single figures:

    switch_51t: {usd: 38000}
    single_mode: {usd: 260, watts: 4.5}
"""

from typing import Annotated

import msgspec

from roadbed.errors import SpecError
from roadbed.spec.document import DocumentError, read_documents

_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_25T_WATTS = 700.0
_SINGLE_MODE_USD = 500.0


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Of one part. Cables: whole, with both ends, per 100 Gb/s."""

    usd: float
    watts: float
    basis: str
    """What the figures rest on."""


DEFAULTS: dict[str, Price] = {
    "switch_25t": Price(usd=28_000, watts=_25T_WATTS, basis="estimate: 64x400G, street price, typical draw, no optics"),
    "switch_51t": Price(
        usd=48_000, watts=_25T_WATTS * 1.45, basis="estimate: 128x400G; draw is switch_25t + 45 % (HPN, SIGCOMM'24)"
    ),
    "card": Price(usd=2_000, watts=60, basis="estimate: 2x200G RDMA card"),
    "copper": Price(usd=35, watts=0.1, basis="estimate: passive copper, to 3 m; per 100 Gb/s"),
    "aoc": Price(usd=140, watts=4.0, basis="estimate: active optical cable, to 30 m; per 100 Gb/s"),
    "multimode": Price(
        usd=_SINGLE_MODE_USD * 0.3,
        watts=4.0,
        basis="estimate: two SR ends and fibre, to 100 m; 30 % of single_mode (HPN)",
    ),
    "single_mode": Price(usd=_SINGLE_MODE_USD, watts=5.0, basis="estimate: two DR/FR ends and fibre; per 100 Gb/s"),
}
SWITCHES = (("switch_25t", 25_600.0), ("switch_51t", 51_200.0))
"""Kinds of switch and what their chip forwards, in Gb/s."""


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    usd: _Amount | None = None
    watts: _Amount | None = None
    basis: str = "as given"


def read(text: str, source: str) -> dict[str, Price]:
    """The defaults with the figures of a file in their place. Raises SpecError `source:line: part: what is wrong`."""
    try:
        documents = read_documents(text)
    except DocumentError as error:
        raise _wrong(source, error.line, error.message, "prices") from error
    if not documents:
        return dict(DEFAULTS)
    document = documents[0]
    if len(documents) > 1 or not isinstance(document.value, dict):
        raise _wrong(source, document.line_of(()), f"expected one mapping of {', '.join(DEFAULTS)}", "prices")
    table = dict(DEFAULTS)
    for part, value in document.value.items():
        line = document.line_of((part,))
        if part not in table:
            raise _wrong(source, line, f"{part} is no part; there are {', '.join(DEFAULTS)}", part)
        try:
            given = msgspec.convert(value, _Given)
        except msgspec.ValidationError as error:
            raise _wrong(source, line, f"{part}: {error}", part) from error
        usual = table[part]
        table[part] = Price(
            usd=usual.usd if given.usd is None else given.usd,
            watts=usual.watts if given.watts is None else given.watts,
            basis=given.basis,
        )
    return table


def write(table: dict[str, Price]) -> str:
    """A file that `read` takes, to begin editing from."""
    lines = ["# USD and watts. Cables: whole, with both ends, per 100 Gb/s."]
    lines += [
        f'{part}: {{usd: {one.usd:g}, watts: {one.watts:g}, basis: "{one.basis}"}}' for part, one in table.items()
    ]
    return "\n".join(lines) + "\n"


def _wrong(source: str, line: int, message: str, field: str) -> SpecError:
    return SpecError(f"{source}:{line}: {message}", hint="roadbed fabric show --prices FILE", field=field)
