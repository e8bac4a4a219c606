"""Rows are read or refused with their line; nothing a file can hold gets another error out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, RoadbedError, SpecError, UsageError
from roadbed.twin import table
from roadbed.twin.table import Row, header_of, read_csv, read_jsonl

PER_TEST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_csv_rows_know_their_line(tmp_path: Path) -> None:
    rows = list(read_csv(written(tmp_path, '\ufeffa, b\r\n1,"x\ny"\r\n\r\n 2 ,\r\n'), ["a", "b"]))
    assert [(row.line, row.integer("a"), row.text("b")) for row in rows] == [(3, 1, "x\ny"), (5, 2, "")]
    assert [row.has("b") for row in rows] == [True, False]


def test_jsonl_rows_know_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1, "b": "x"}\n\n{"b": 2.5, "a": null}\n', "t.jsonl")
    rows = list(read_jsonl(path, ["a"]))
    assert [(row.line, row.integer("a", 7), row.text("b")) for row in rows] == [(1, 1, "x"), (3, 7, "2.5")]
    assert header_of(path) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: columns a, b missing; there is nothing"),
        ("a,c\n", ":1: column b missing; there is a, c"),
        ("a,b,a\n", "'a' is there twice"),
        ("a,b\n1,2\n3\n", ":3: 1 cells under 2 columns"),
        (b"a,b\n1,\xff\n", ": not UTF-8 text"),
        ('a,b\n1,"' + "x" * 200_000 + '"\n', ":2: no CSV: field larger"),
    ],
)
def test_broken_csv(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        list(read_csv(written(tmp_path, text), ["a", "b"]))
    assert words in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]\n", ":1: not an object"),
        ('{"a": 1}\n{"b": 1}\n', ":2: lacks a"),
        ('{"a": \n', ":1: no JSON"),
        ('{"a": 1' + "0" * 5000 + "}\n", ":1: no JSON"),
        ("[" * 100_000 + "\n", ":1: no JSON"),
    ],
)
def test_broken_jsonl(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        list(read_jsonl(written(tmp_path, text, "t.jsonl"), ["a"]))
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"), ("x", "is 'x', which is no number"), ("nan", "no number"), ("inf", "no number"),
        ("-1", "is -1, below 0"), ("1.5", "is 1.5, which is no whole number"), ("11", "above 10"), (True, "no number"),
        ([1], "no number"),
    ],
)  # fmt: skip
def test_cells_that_are_no_small_number(value: Any, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        Row(Path("f"), 7, {"n": value}).integer("n", most=10)
    assert raised.value.message.startswith("f:7: n ")
    assert words in raised.value.message
    assert raised.value.field == "n"


def test_text_of_what_is_none() -> None:
    assert Row(Path("f"), 1, {"n": "  "}).text("n", "d") == "d"
    with pytest.raises(SpecError, match="which is no text"):
        Row(Path("f"), 1, {"n": [1]}).text("n")


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file") as raised:
        list(read_csv(tmp_path / "none.csv", []))
    assert raised.value.exit_code == 3
    for wrong in (tmp_path, Path("a\0b")):
        with pytest.raises(UsageError, match="can't be read"):
            list(read_csv(wrong, []))


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_ROWS", 3)
    monkeypatch.setattr(table, "MAX_LINE_CHARS", 20)
    with pytest.raises(SpecError, match="more than 3 lines"):
        list(read_csv(written(tmp_path, "a\n1\n2\n3\n"), ["a"]))
    with pytest.raises(SpecError, match=":1: a line of more than 20 characters"):
        header_of(written(tmp_path, "a" * 30))


@PER_TEST
@given(data=st.binary(max_size=200) | st.text(alphabet="ab,\n\r\"'1.-e", max_size=100).map(str.encode))
def test_any_bytes_are_rows_or_our_error(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    for read in (read_csv, read_jsonl):
        try:
            for row in read(path, ["a"]):
                assert math.isfinite(row.number("a", 0.0))
        except RoadbedError as error:
            assert str(path) in error.message
    try:
        assert all(isinstance(name, str) for name in header_of(path))
    except SpecError as error:
        assert str(path) in error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@PER_TEST
@given(rows=st.lists(JSON, max_size=4))
def test_any_json_is_rows_or_our_error(tmp_path: Path, rows: list[Any]) -> None:
    path = written(tmp_path, "\n".join(json.dumps(row) for row in rows))
    try:
        for row in read_jsonl(path, ["a"]):
            assert 0 <= row.integer("a", 1) <= 1 << 53
            row.text("b")
    except SpecError as error:
        assert f"{path}:" in error.message
