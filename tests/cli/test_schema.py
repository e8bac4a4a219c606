"""Schemas that editors can use."""

import pytest

from roadbed.spec.schema import MODELS
from tests.cli.conftest import Shell


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_schema_of_a_kind(shell: Shell, kind: str) -> None:
    found = shell("schema", kind).json()
    assert found["additionalProperties"] is False
    assert found["$schema"].startswith("https://json-schema.org/")


def test_schema_of_any_file(shell: Shell) -> None:
    assert len(shell("schema").json()["oneOf"]) == len(MODELS) - 1  # all but config


def test_an_unknown_kind(shell: Shell) -> None:
    refused = shell("schema", "pod")
    assert (refused.code, "kinds are service" in refused.err) == (3, True)
