"""From files to specs: every mistake is named with its line, all at once, and nothing else ever escapes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.spec.load import (
    APPLICABLE_KINDS,
    KINDS,
    Applicable,
    applicable,
    load_config,
    load_file,
    load_path,
    load_text,
    load_value,
)
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, Service
from roadbed.spec.tenant import Key, Tenant

CHAT = "kind: service\nname: chat\nmodel: smollm2-135m-instruct\n"


def error_of(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_text(text, "chat.yaml")
    return caught.value.message


def test_several_documents_in_order() -> None:
    specs = load_text(CHAT + "replicas: 1..3\n---\nkind: tenant\nname: a\n---\nkind: key\nname: k\ntenant: a\n")
    assert [type(spec) for spec in specs] == [Service, Tenant, Key]
    assert isinstance(specs[0], Service)
    assert (specs[0].replicas.min, specs[0].replicas.max) == (1, 3)


def test_engine_shorthand_and_full_form() -> None:
    (short,) = load_text(CHAT + "engine: llamacpp\n")
    (full,) = load_text(CHAT + "engine:\n  kind: openai\n  urls: [http://127.0.0.1:9]\n")
    assert isinstance(short, Service)
    assert isinstance(full, Service)
    assert isinstance(short.engine, LlamaCppEngine)
    assert isinstance(full.engine, OpenAIEngine)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            CHAT + "replica: 3\n",
            "chat.yaml:4: service 'chat': 'replica' is not a key of service; did you mean 'replicas'?",
        ),
        (
            CHAT + "engine:\n  kind: llamacpp\n  context_token: 9\n",
            "chat.yaml:6: service 'chat': 'context_token' is not a key of engine; did you mean 'context_tokens'?",
        ),
        (
            CHAT + "engine:\n  kind: vllm\n  context_tokens: 9\n",
            "chat.yaml:6: service 'chat': 'context_tokens' is not a key of engine; keys are adapters, args, env,",
        ),
        (CHAT + "slo:\n  ttf: 2s\n", "chat.yaml:5: service 'chat': 'ttf' is not a key of slo; did you mean 'ttft'?"),
        (
            CHAT + "resources: {gpus: 1}\n",
            "chat.yaml:4: service 'chat': 'gpus' is not a key of resources; did you mean 'gpu'?",
        ),
        (
            CHAT + "resources:\n  gpu: H10:8\n",
            "chat.yaml:5: service 'chat': resources.gpu: there is no chip 'H10'; did you mean 'H100'?",
        ),
        (
            CHAT + "resources:\n  accelerators: 1.5\n",
            "chat.yaml:5: service 'chat': resources.accelerators: 1.5 devices: only one device",
        ),
        (
            CHAT + "resources: {gpu: 1, accelerators: 2}\n",
            "chat.yaml:4: service 'chat': resources: accelerators and gpu say the same",
        ),
        (CHAT + "quota: A\n", "chat.yaml:4: service 'chat': quota: 'A' is not a name"),
        (CHAT + "priority: 11\n", "chat.yaml:4: service 'chat': priority: Input should be less than or equal to 9"),
        (CHAT + "slo: {ttft: 2 parsecs}\n", "chat.yaml:4: service 'chat': slo.ttft: unknown unit 'parsecs'"),
        ("kind: service\nname: chat\n", "chat.yaml:1: service 'chat': model: Field required"),
        ("kind: tenant\nname: A b\n", "chat.yaml:2: tenant 'A b': name: 'A b' is not a name"),
        (
            "kind: servce\n",
            "chat.yaml:1: kind 'servce' is not one of service, tenant, key, task, quota, cluster; did you mean 'service'?",
        ),
        ("name: chat\n", "chat.yaml:1: kind is missing"),
        ("- 1\n", "chat.yaml:1: expected a mapping"),
        ("# nothing\n", "chat.yaml:1: holds no spec"),
        ("a: [\n", "chat.yaml:2: expected"),
        (CHAT + "---\n" + CHAT, "chat.yaml:6: service 'chat' is written twice (first at chat.yaml:2)"),
        (CHAT + "priority: 5\npriority: 6\n", "chat.yaml:5: key 'priority' is written twice (first on line 4)"),
        (CHAT + "replicas: 4..2\n", "range 4..2 must satisfy"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, expected: str) -> None:
    assert expected in error_of(text)


def test_what_the_control_plane_does_not_keep_is_refused_by_name() -> None:
    kept = load_text(
        CHAT + "---\nkind: tenant\nname: a\n---\nkind: key\nname: k\n---\nkind: task\nname: t\ncommand: x\n"
        "---\nkind: quota\nname: q\n"
    )
    assert applicable(kept) == kept
    assert sorted(spec.kind for spec in kept) == list(APPLICABLE_KINDS)
    others = load_text("kind: cluster\nname: c\nnodes: [{server: t4-4, count: 1}]\n")
    assert {spec.kind for spec in [*kept, *others]} == set(KINDS)
    for spec in others:
        assert not isinstance(spec, Applicable)
        with pytest.raises(SpecError, match=f"{spec.kind} '{spec.name}' is sound, but the platform finds its machines"):
            applicable([*kept, spec])


def test_all_mistakes_of_all_documents_are_listed_by_line() -> None:
    message = error_of(CHAT + "replica: 3\npriority: 0\n---\nkind: tenant\nname: t\nlimits: {concurency: 2}\n")
    assert [line.split(":")[1] for line in message.splitlines()] == ["4", "5", "9"]


def test_the_hint_is_the_schema_of_the_kind() -> None:
    with pytest.raises(SpecError) as caught:
        load_text("kind: key\nname: k\nlimit: 3\n")
    assert caught.value.hint == "roadbed schema key"
    assert caught.value.field == "limit"


def test_load_value_of_an_api_body() -> None:
    assert load_value({"kind": "tenant", "name": "a"}) == Tenant(name="a")
    with pytest.raises(SpecError, match="body:1"):
        load_value({"kind": "tenant", "nam": "a"})


def test_directory_is_read_by_name_and_duplicates_across_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("kind: tenant\nname: b\n")
    (tmp_path / "a.yml").write_text("kind: tenant\nname: a\n")
    (tmp_path / "notes.txt").write_text("not: {a spec")
    assert [spec.name for spec in load_path(tmp_path)] == ["a", "b"]
    (tmp_path / "c.json").write_text('{"kind": "tenant", "name": "a"}')
    with pytest.raises(SpecError, match=r"c\.json:1: tenant 'a' is written twice \(first at .*a\.yml:2\)"):
        load_path(tmp_path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load_path(tmp_path / "gone.yaml")
    with pytest.raises(SpecError, match=r"no \.yaml"):
        load_path(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"kind: tenant\nname: \xff\n")
    with pytest.raises(SpecError, match=r"latin\.yaml:2: not UTF-8"):
        load_file(tmp_path / "latin.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load_file(tmp_path / "big.yaml")


def test_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert load_config(path).gateway.port == 8000
    path.write_text("# defaults\n")
    assert load_config(path).control.port == 8001
    path.write_text("gateway:\n  port: 9000\n  workers: 2\n")
    assert load_config(path).gateway.workers == 2
    path.write_text("gateway:\n  port: 9000\n  worker: 2\n")
    with pytest.raises(
        SpecError, match=r"config\.yaml:3: config: 'worker' is not a key of gateway; did you mean 'workers'"
    ):
        load_config(path)
    path.write_text("prices:\n  models:\n    x: {input: 1, output: 2, outputs: 3}\n")
    with pytest.raises(SpecError, match="'outputs' is not a key of models; did you mean 'output'"):
        load_config(path)
    path.write_text("- 1\n")
    with pytest.raises(SpecError, match="expected one mapping") as caught:
        load_config(path)
    assert caught.value.hint == "roadbed schema config"
    path.write_text("a: [")
    with pytest.raises(SpecError, match=r"config\.yaml:1"):
        load_config(path)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("llamacpp"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({field for model in KINDS.values() for field in model.model_fields} | {"nope"})


@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.sampled_from(FIELDS), JSONISH, max_size=6))
def test_any_mapping_is_a_spec_or_a_spec_error(kind: str, body: dict[str, object]) -> None:
    try:
        spec = load_value({"name": "a", "model": "m", **body, "kind": kind})
    except SpecError as caught:
        sound = caught.message.startswith("body:1: ")
    else:
        sound = load_value(spec.model_dump(mode="json")) == spec
    assert sound


@given(st.text(max_size=300) | st.text("kindservcetamp: \n[]{}-&*\"'|", max_size=120))
def test_any_text_is_specs_or_a_spec_error(text: str) -> None:
    try:
        specs = load_text(text)
    except SpecError as caught:
        sound = caught.message.startswith("-:")
    else:
        sound = specs
    assert sound
