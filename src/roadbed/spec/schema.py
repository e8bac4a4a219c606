"""JSON Schema (draft 2020-12) of everything a user may write, for editors and for `roadbed schema [KIND]`.

Generated from the same models that validate, so it cannot say something else.
"""

from typing import Any

from pydantic import BaseModel

from roadbed.errors import NotFoundError
from roadbed.spec.load import KINDS
from roadbed.spec.platform import PlatformConfig

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

MODELS: dict[str, type[BaseModel]] = {**KINDS, "config": PlatformConfig}


def schema(kind: str | None = None) -> dict[str, Any]:
    """The schema of one kind (`config` is config.yaml), or of any spec document when `kind` is None.

    Raises NotFoundError for an unknown kind.
    """
    if kind is None:
        return _any_spec()
    if kind not in MODELS:
        raise NotFoundError(
            f"there is no kind {kind!r}; kinds are {', '.join(MODELS)}", hint="roadbed schema", field="kind"
        )
    return {"$schema": _DRAFT, **MODELS[kind].model_json_schema()}


def _any_spec() -> dict[str, Any]:
    """One document of an apply file: any kind but config, told apart by `kind`."""
    definitions: dict[str, Any] = {}
    for kind, model in KINDS.items():
        body = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(body.pop("$defs", {}))
        # A default makes pydantic leave `kind` optional; in a file it must be written.
        definitions[kind] = {**body, "required": sorted({*body.get("required", []), "kind"})}
    return {
        "$schema": _DRAFT,
        "title": "A Roadbed spec",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": definitions,
    }
