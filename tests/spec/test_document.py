"""Text to values and lines: what is refused, what is text, and that nothing gets through sideways."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from roadbed.spec.document import MAX_BYTES, MAX_DEPTH, DocumentError, read_documents


def only(text: str) -> object:
    (document,) = read_documents(text)
    return document.value


def test_lines_are_those_of_the_keys() -> None:
    (document,) = read_documents("a: 1\nb:\n  - x\n  - c: 2\n")
    assert document.line_of(("a",)) == 1
    assert document.line_of(("b", 1, "c")) == 4


def test_line_of_a_missing_part_is_that_of_its_parent() -> None:
    (document,) = read_documents("a: 1\nengine:\n  threads: 2\n")
    assert document.line_of(("engine", "llamacpp", "threads")) == 3
    assert document.line_of(("engine", "llamacpp", "parallel")) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("~", None), ("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0)],
)
def test_plain_scalars_of_yaml_1_2(text: str, value: object) -> None:
    assert only(f"a: {text}") == {"a": value}
    assert only(f"a: '{text}'") == {"a": text}
    assert only(f"a: !!str {text}") == {"a": text}


@pytest.mark.parametrize("text", ["yes", "no", "on", "12:30", "2026-01-01", "0x10", "1e999", "1_000", ".inf", "9" * 30])
def test_what_looks_special_to_others_is_text(text: str) -> None:
    assert only(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\na: 2\n", 2, "key 'a' is written twice (first on line 1)"),
        ("x:\n  b: 1\n  b: 2\n", 3, "key 'b' is written twice (first on line 2)"),
        ("a: *nowhere\n", 1, "alias *nowhere has no anchor"),
        ("a: &a [*a]\n", 1, "alias *a has no anchor"),
        ("\na: !!python/object:os.system {}\n", 2, "tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!int 3\n", 1, "tag"),
        ("a: !env [1]\n", 1, "tag '!env'"),
        ("? [1]\n: 2\n", 1, "a key must be plain text"),
        ("a: 1\nb: [\n", 3, "expected"),
        ('a: "\\UFFFFFFFF"', 1, ""),
        ("[" * (MAX_DEPTH + 2), 1, "nested deeper"),
        ("a: \x00", 1, ""),
    ],
)
def test_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_documents(text)
    assert caught.value.line == line
    assert message in caught.value.message


def test_alias_bomb_is_refused_before_it_explodes() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    with pytest.raises(DocumentError, match="once aliases are written out"):
        read_documents(bomb)


def test_modest_aliases_work() -> None:
    assert only("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_too_large_is_refused_unparsed() -> None:
    with pytest.raises(DocumentError, match="larger than 1 MiB"):
        read_documents("a" * (MAX_BYTES + 1))


def test_empty_documents_are_left_out() -> None:
    assert read_documents("") == []
    assert [document.value for document in read_documents("---\n---\na: 1\n---\n# only words\n")] == [{"a": 1}]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(st.characters(codec="ascii"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values.filter(lambda value: value is not None))
def test_what_pyyaml_writes_we_read_back(value: object) -> None:
    assert only(yaml.safe_dump(value)) == value


YAMLISH = st.text(st.sampled_from("ab:-[]{}&*!|>'\"\n #?,%@`~1.\\U\t\x85\u2028é\ud800"), max_size=80)


@given(st.text(max_size=200) | YAMLISH)
def test_any_text_is_documents_or_a_document_error(text: str) -> None:
    try:
        documents = read_documents(text)
    except DocumentError as caught:
        sound = caught.line >= 1
    else:
        sound = all(document.value is not None for document in documents)
    assert sound
