import pytest

from roadbed.errors import NotFoundError, UsageError
from roadbed.models.catalogue import DEFAULT_MODEL, Entry, entries, expected_sha256, find, resolve
from roadbed.models.sources import parse
from roadbed.spec.base import check_name


def test_the_default_comes_first_and_is_pinned() -> None:
    first = entries()[0]
    assert first.name == DEFAULT_MODEL
    assert first.license == "Apache-2.0"
    assert len(first.sha256 or "") == 64
    assert str(resolve(DEFAULT_MODEL)) == first.source
    assert expected_sha256(DEFAULT_MODEL) == expected_sha256(first.source) == first.sha256


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_entry_holds_together(entry: Entry) -> None:
    check_name(entry.name)
    for text in (entry.source, *entry.mirrors):
        assert str(parse(text)) == text
    shape = entry.architecture
    assert shape.head_dim * shape.num_heads == shape.hidden
    assert shape.num_heads % shape.num_kv_heads == 0
    assert ("llamacpp" in entry.engines) == (entry.format == "gguf")


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_the_shape_adds_up_to_the_parameters(entry: Entry) -> None:
    a = entry.architecture
    kv = a.num_kv_heads * a.head_dim
    bias = a.hidden + 2 * kv if entry.name.startswith("qwen2.5") else 0
    layer = 2 * a.hidden**2 + 2 * a.hidden * kv + 3 * a.hidden * a.ffn + 2 * a.hidden + bias
    embeddings = a.vocab * a.hidden * (1 if a.tied_embeddings else 2)
    assert layer * a.num_layers + embeddings + a.hidden == entry.num_parameters


def test_licences_differ_by_size() -> None:
    by_license = {entry.name: entry.license for entry in entries()}
    assert by_license["qwen2.5-7b-instruct"] == "Apache-2.0"
    assert by_license["qwen2.5-3b-instruct"] == "LicenseRef-Qwen-Research"
    assert by_license["qwen2.5-72b"] == "LicenseRef-Qwen"


def test_kv_cache_of_a_known_model() -> None:
    assert find("qwen2.5-7b-instruct").architecture.kv_bytes_per_token == 57_344  # 2 × 28 × 4 × 128 × 2


def test_names_are_unique_and_cover_all_sizes() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) == len(set(names))
    for size in ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"):
        assert {f"qwen2.5-{size}", f"qwen2.5-{size}-instruct"} <= set(names)


@pytest.mark.parametrize(
    ("typo", "meant"), [("smollm2", DEFAULT_MODEL), ("Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct")]
)
def test_a_typo_is_answered_with_a_guess(typo: str, meant: str) -> None:
    with pytest.raises(NotFoundError, match=meant):
        find(typo)


def test_resolve_takes_sources_too() -> None:
    assert str(resolve("hf:a/b/c.gguf")) == "hf:a/b/c.gguf"
    assert expected_sha256("hf:a/b/c.gguf") is None
    with pytest.raises(UsageError):
        resolve("ftp:x")
    with pytest.raises(NotFoundError) as caught:
        resolve("zzzzzz")
    assert "did you mean" not in caught.value.message
