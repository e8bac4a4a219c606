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
    "task": {"kind": "task", "name": "t", "command": ["true"], "processes": 2},
    "quota": {"kind": "quota", "name": "q", "resources": {"H100": "2..4"}},
    "cluster": {"kind": "cluster", "name": "c", "nodes": [{"server": "hgx-h100", "count": 2}]},
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
        {"resources": {"gpu": 0.5}},
        {"resources": {"accelerators": "any of [H100, H800]:8"}},
        {"resources": {"accelerators": {"any_of": ["H100", "H800"], "memory": "60GB..", "count": 8}}},
        {"resources": {"accelerators": None}, "quota": "research/nlp"},
    ],
)
def test_whatever_may_be_written_is_in_the_schema(fields: dict[str, object]) -> None:
    spec = {**GOOD["service"], **fields}
    load_value(spec)
    for document in (schema(), schema("service")):
        assert Draft202012Validator(document).is_valid(spec)


@pytest.mark.parametrize(
    "fields",
    [
        {"resources": {"gpu": 1, "accelerators": 1}},
        {"resources": {"gpu": 0}},
        {"resources": {"gpu": {"chips": "H100"}}},
        {"replicas": "some"},
        {"replicas": -1},
        {"engine": "openai"},
        {"engine": "triton"},
        {"slo": {"ttft": "-1s"}},
    ],
)
def test_whatever_may_not_be_written_is_not(fields: dict[str, object]) -> None:
    spec = {**GOOD["service"], **fields}
    with pytest.raises(SpecError):
        load_value(spec)
    assert not Draft202012Validator(schema()).is_valid(spec)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("task", {"command": "echo hi"}),
        ("task", {"processes": None, "workers": "2..16", "max_duration": "4h", "environment": {"A": "b"}}),
        ("task", {"topology": {"required": "pod", "slices": [{"each": 2, "in": "server"}]}}),
        ("quota", {"resources": {"H100": 4, "gpu": "2..", "cpu": {"min": 1, "max": 2}}, "half_life": "7d"}),
        ("cluster", {"chips": {"G2": {"memory": "24GB", "flops": {"bf16": 1e14}}}}),
        ("cluster", {"nodes": [{"server": "t4-4", "name": "a[0-3]", "domains": [{"nodes": 4, "segment": "a"}]}]}),
        (
            "cluster",
            {"servers": {"s": {"chip": "T4", "devices": 2, "cpu": 8, "memory": "8GiB", "nics": [{"gbps": 100}]}}},
        ),
    ],
)
def test_the_new_nouns_too(kind: str, fields: dict[str, object]) -> None:
    spec = load_value({**GOOD[kind], **fields})
    for document in (schema(), schema(kind)):
        assert Draft202012Validator(document).is_valid({**GOOD[kind], **fields})
        assert Draft202012Validator(document).is_valid(spec.model_dump(mode="json"))
