"""What every noun shares: strict keys, a name one can type, frozen values."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_NAME = re.compile(r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")


def check_name(value: str) -> str:
    """Names: 1–63 of a-z 0-9 . _ -, beginning and ending with a letter or digit."""
    if not _NAME.match(value):
        raise ValueError(f"{value!r} is not a name: use 1-63 of a-z, 0-9, '.', '_', '-', ends alphanumeric")
    return value


Name = Annotated[str, AfterValidator(check_name)]


class Spec(BaseModel):
    """Base of everything a user writes: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
