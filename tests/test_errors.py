"""The tree is what its docstring draws, and every error reaches people whole."""

import re
from collections.abc import Iterator

import pytest

from roadbed import errors
from roadbed.errors import RoadbedError


def tree(kind: type[RoadbedError] = RoadbedError) -> Iterator[type[RoadbedError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_the_drawing_is_true() -> None:
    drawn = re.findall(r"(\w+) +(E_\w+) +(\d{3}) +exit (\d)", errors.__doc__ or "")
    real = [(kind.__name__, kind.code, str(kind.http_status), str(kind.exit_code)) for kind in tree()]
    assert sorted(drawn) == sorted(row for row in real if row[0] != "RoadbedError")


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in tree()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", list(tree()))
def test_an_error_says_all_it_knows(kind: type[RoadbedError]) -> None:
    error = kind("no", hint="roadbed ps", field="name")
    assert str(error) == "no"
    said = error.to_dict()["error"]
    assert said == {"code": kind.code, "message": "no", "field": "name", "hint": "roadbed ps"}
    assert kind.__doc__
