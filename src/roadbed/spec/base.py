"""What every noun shares: strict keys, a name one can type, frozen values, and complaints that know their place."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_QUOTA_DEPTH = 8
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def check_name(value: str) -> str:
    """Names: 1–63 of a-z 0-9 . _ -, beginning and ending with a letter or digit."""
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name: use 1-63 of a-z, 0-9, '.', '_', '-', ends alphanumeric")
    return value


def check_path(value: str) -> str:
    """A quota in its tree: names from the root down, such as research/nlp."""
    parts = value.split("/")
    if len(parts) > MAX_QUOTA_DEPTH:
        raise ValueError(f"{value!r} is deeper than {MAX_QUOTA_DEPTH} quotas")
    for part in parts:
        check_name(part)
    return value


Name = Annotated[str, AfterValidator(check_name)]
QuotaPath = Annotated[str, AfterValidator(check_path)]


class Complaints:
    """Problems found by a check that looks at several parts of a document, each with the path of the part it is in.

    Raised inside a validator, they come out of pydantic like its own, so the loader finds their lines.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._found: list[InitErrorDetails] = []

    def add(self, path: Sequence[str | int], message: str, value: Any = None) -> None:
        """Notes one problem; `path` is relative to the model whose validator raises."""
        kind = PydanticCustomError("value_error", "{message}", {"message": message})
        self._found.append(InitErrorDetails(type=kind, loc=tuple(path), input=value))

    def raise_any(self) -> None:
        """Raises ValidationError when there is any."""
        if self._found:
            raise ValidationError.from_exception_data(self._title, self._found)


class Spec(BaseModel):
    """Base of everything a user writes: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
