"""The published schema says what the loader does."""

import json

import pytest
from jsonschema_rs import Draft202012Validator, meta

from roadbed.errors import NotFoundError, SpecError
from roadbed.spec.load import KINDS, load_value
from roadbed.spec.schema import MODELS, schema

GOOD = {
    "service": {"kind": "service", "name": "chat", "model": "m", "priority": 3},
    "tenant": {"kind": "tenant", "name": "a", "limits": {"concurrency": 2}},
    "key": {"kind": "key", "name": "k", "scopes": ["inference"]},
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_kind_has_a_valid_schema(kind: str) -> None:
    document = schema(kind)
    meta.validate(document)
    assert document["additionalProperties"] is False
    json.dumps(document)


def test_unknown_kind() -> None:
    with pytest.raises(NotFoundError, match="there is no kind 'pod'"):
        schema("pod")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schema_of_any_spec_agrees_with_the_loader(kind: str) -> None:
    validator = Draft202012Validator(schema())
    good = GOOD[kind]
    assert validator.is_valid(good)
    load_value(good)
    for bad in (
        {**good, "nope": 1},
        {key: value for key, value in good.items() if key != "name"},
        {**good, "kind": "x"},
    ):
        assert not validator.is_valid(bad)
        with pytest.raises(SpecError):
            load_value(bad)
    assert not validator.is_valid({key: value for key, value in good.items() if key != "kind"})


def test_descriptions_come_from_the_docstrings() -> None:
    assert "Requests decoded together" in json.dumps(schema("service"))


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": 2},
        {"replicas": "1..4"},
        {"replicas": {"min": 1, "max": 4}},
        {"engine": "llamacpp"},
        {"engine": {"kind": "llamacpp", "prompt_cache": "256MiB"}},
        {"resources": {"memory": "2GB", "cpu": 0.5}},
        {"resources": {"memory": 2_000_000_000}},
        {"slo": {"ttft": "2s", "tpot": 0.05}},
        {"slo": {"ttft": None}},
    ],
)
def test_whatever_may_be_written_is_in_the_schema(fields: dict[str, object]) -> None:
    spec = {**GOOD["service"], **fields}
    load_value(spec)
    for document in (schema(), schema("service")):
        assert Draft202012Validator(document).is_valid(spec)


@pytest.mark.parametrize(
    "fields",
    [{"replicas": "some"}, {"replicas": -1}, {"engine": "openai"}, {"engine": "triton"}, {"slo": {"ttft": "-1s"}}],
)
def test_whatever_may_not_be_written_is_not(fields: dict[str, object]) -> None:
    spec = {**GOOD["service"], **fields}
    with pytest.raises(SpecError):
        load_value(spec)
    assert not Draft202012Validator(schema()).is_valid(spec)
