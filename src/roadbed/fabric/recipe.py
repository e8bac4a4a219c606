"""Networks as text: a recipe of a family's counts, a hand-written network, or SimAI's topology file.

    fabric: hpn7
    gpus: 448
    planes: 1

One function reads all three, so every command takes whichever the user has. A recipe holds only what was asked for;
defaults stay with the family, which may learn better ones.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from roadbed.errors import NotFoundError, SpecError, UsageError
from roadbed.fabric import registry, simai
from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import custom, custom_text
from roadbed.spec.document import Document, DocumentError, read_documents

_SIMAI = re.compile(r"\s*\d+[ \t]+\d+[ \t]+\d+[ \t]+\d+[ \t]+\d+([ \t]+\S+)?[ \t]*\r?\n")


def read(text: str, source: str, *, gpus: int | None = None, settings: Mapping[str, str] | None = None) -> Fabric:
    """The network a text describes; `source` names it in errors.

    gpus and settings override a recipe's. A network that is written out (by hand or by SimAI) is as it is: gpus may ask
    for at most what it has, settings are refused. Raises SpecError `source:line: …`, UsageError or NotFoundError.
    """
    if _SIMAI.match(text):
        return _fixed(simai.read(text, source), source, gpus, settings)
    document = _document(text, source)
    value: dict[str, Any] = document.value
    if value["fabric"] == "custom":
        return _fixed(custom.read(document, source), source, gpus, settings)
    parameters = {str(key): given for key, given in value.items() if key != "fabric"} | dict(settings or {})
    for key, given in parameters.items():
        if isinstance(given, dict | list) or given is None:
            raise SpecError(f"{source}:{document.line_of((key,))}: {key} must be one value", field=key)
    try:
        return registry.build(value["fabric"], **(parameters | ({} if gpus is None else {"gpus": gpus})))
    except (UsageError, NotFoundError) as error:
        # what came from an option is no fault of a line
        line = (
            f"{source}: "
            if error.field in {*(settings or {})}
            else f"{source}:{document.line_of((error.field or '',))}: "
        )
        raise SpecError(f"{line}{error.message}", hint=error.hint, field=error.field) from error


def write(fabric: Fabric) -> str:
    """The text that builds a fabric again: counts where a family built it, else rules (`custom_text`)."""
    if fabric.name not in registry.FAMILIES:
        return custom_text.write(fabric)
    usual = msgspec.to_builtins(registry.FAMILIES[fabric.name].counts())
    asked = {key: given for key, given in fabric.parameters.items() if given != usual[key] or key == "gpus"}
    lines = [f"fabric: {fabric.name}", *(f"{key}: {json.dumps(given)}" for key, given in asked.items())]
    return "\n".join(lines) + "\n"


def _document(text: str, source: str) -> Document:
    try:
        documents = read_documents(text)
    except DocumentError as error:
        raise SpecError(f"{source}:{error.line}: {error.message}", hint="roadbed fabric new") from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise SpecError(
            f"{source}:1: holds no network; begin with fabric: {' | '.join(registry.FAMILIES)} | custom",
            hint="roadbed fabric new hpn7 --gpus 448",
        )
    name = documents[0].value.get("fabric")
    if name != "custom":
        if not isinstance(name, str):
            said = f"fabric is {'missing' if name is None else 'not a name'}; one of {', '.join(registry.FAMILIES)}, "
            raise SpecError(
                f"{source}:{documents[0].line_of(('fabric',))}: {said}custom",
                hint="roadbed fabric new hpn7 --gpus 448",
                field="fabric",
            )
        registry.find(name)
    return documents[0]


def _fixed(fabric: Fabric, source: str, gpus: int | None, settings: Mapping[str, str] | None) -> Fabric:
    if settings:
        raise UsageError(
            f"{source} is written out link by link: {', '.join(settings)} can't be set",
            hint="edit the file",
            field="set",
        )
    if gpus is not None and gpus > fabric.num_gpus:
        raise UsageError(f"{source} has {fabric.num_gpus:,} GPUs, not {gpus:,}", field="gpus")
    return fabric
