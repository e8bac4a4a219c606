"""Names and paths one can type, and complaints that come out where they belong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError, model_validator

from roadbed.spec.base import MAX_QUOTA_DEPTH, Complaints, Name, QuotaPath, Spec

NAME: TypeAdapter[str] = TypeAdapter(Name)
PATH: TypeAdapter[str] = TypeAdapter(QuotaPath)


@pytest.mark.parametrize("name", ["a", "0", "chat", "a.b_c-d", "x" * 63])
def test_names(name: str) -> None:
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "é", "x" * 64, "a\n", ".", 3])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


@given(st.lists(st.text("ab-", max_size=3), min_size=1, max_size=MAX_QUOTA_DEPTH + 2))
def test_a_path_is_names_from_the_root_down(parts: list[str]) -> None:
    sound = len(parts) <= MAX_QUOTA_DEPTH and all(part and part.strip("-") == part for part in parts)
    try:
        PATH.validate_python("/".join(parts))
    except ValidationError:
        assert not sound
    else:
        assert sound


class Inner(Spec):
    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> "Inner":
        found = Complaints("Inner")
        if self.low > self.high:
            found.add(("low",), f"{self.low} {{above}} {self.high}", self.low)
            found.add((), "not ordered")
        found.raise_any()
        return self


class Outer(Spec):
    items: list[Inner]


def test_complaints_come_out_at_their_path() -> None:
    assert Outer.model_validate({"items": [{"low": 1, "high": 2}]}).items[0].high == 2
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"items": [{"low": 1, "high": 2}, {"low": 3, "high": 2}]})
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [
        (("items", 1, "low"), "3 {above} 2"),
        (("items", 1), "not ordered"),
    ]


def test_no_complaint_is_no_error() -> None:
    Complaints("X").raise_any()
