"""Networks by name: `build("hpn7", gpus=448, planes="1")`.

A family is a struct of counts with defaults and a function that builds it. Values may be text, as they come from a
command line or a recipe; what is unknown or out of range is refused by name.
"""

import difflib
from collections.abc import Callable
from typing import Any

import msgspec

from roadbed.errors import NotFoundError, UsageError
from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import dcn_plus, fat_tree, hpn7, rail_only, server16, single_tor, spectrum_x


class Family(msgspec.Struct, frozen=True):
    """A kind of network."""

    counts: type[msgspec.Struct]
    """Its parameters, with defaults."""
    make: Callable[[Any], Fabric]
    summary: str


FAMILIES: dict[str, Family] = {
    "hpn7": Family(hpn7.Hpn7, hpn7.build, "8 rails, dual ToR, dual plane; 15,360 GPUs a pod, 15:1 above"),
    "dcn_plus": Family(dcn_plus.DcnPlus, dcn_plus.build, "3 tiers at 1:1, dual ToR, no rails; 512 GPUs a pod"),
    "single_tor": Family(single_tor.SingleTor, single_tor.build, "DCN+ with one ToR a segment, 400G to each card"),
    "rail_only": Family(
        rail_only.RailOnly, rail_only.build, "16 planes in two tiers; only same-rail traffic; 122,880 GPUs"
    ),
    "fat_tree": Family(fat_tree.FatTree, fat_tree.build, "k-port switches in three tiers at 1:1"),
    "spectrum_x": Family(spectrum_x.SpectrumX, spectrum_x.build, "8 rails, single ToR, one spine at 1:1; 4,096 GPUs"),
    "server16": Family(server16.Server16, server16.build, "hpn7 of 16-accelerator servers, two to a card"),
}


def build(name: str, *, gpus: int | None = None, **parameters: Any) -> Fabric:
    """The network of that name: at its full size, or the smallest part that holds `gpus` (if not 0) in whole servers.

    Parameters are the fields of the family's struct, as values or as text. UsageError names a parameter that does not
    exist or does not fit; NotFoundError a network that does not.
    """
    family = find(name)
    known = {field.name: field for field in msgspec.structs.fields(family.counts)}
    for given in parameters:
        if given not in known:
            raise UsageError(
                f"{name} has no parameter {given!r}; {nearest(given, known)}",
                hint="roadbed fabric new",
                field=given,
            )
    if gpus is not None:
        parameters["gpus"] = gpus
    counts = {}
    for given, value in parameters.items():
        try:
            counts[given] = msgspec.convert(value, known[given].type, strict=False)
        except msgspec.ValidationError as error:
            text = str(error).partition(" - at")[0]
            raise UsageError(f"{name}: {given}={value}: {text[:1].lower()}{text[1:]}", field=given) from error
    return family.make(family.counts(**counts))


def find(name: str) -> Family:
    """The family of that name; NotFoundError with the nearest."""
    found = FAMILIES.get(name.replace("-", "_"))
    if found is None:
        raise NotFoundError(
            f"there is no network {name!r}; {nearest(name, FAMILIES)}", hint="roadbed fabric new", field="fabric"
        )
    return found


def nearest(wrong: str, right: Any) -> str:
    """What was probably meant, in words."""
    close = difflib.get_close_matches(wrong.casefold().replace("-", "_"), list(right), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(right)}"
