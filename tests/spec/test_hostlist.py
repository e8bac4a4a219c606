"""Patterns stand for exactly the names one would count on paper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.spec.hostlist import expand


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gpu7", ["gpu7"]),
        ("gpu[08-11]", ["gpu08", "gpu09", "gpu10", "gpu11"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[1,3-4]x", ["n1x", "n3x", "n4x"]),
        ("r[0-1]-n[0-1]", ["r0-n0", "r0-n1", "r1-n0", "r1-n1"]),
        ("[1-2]", ["1", "2"]),
        ("a.b-c_d", ["a.b-c_d"]),
    ],
)
def test_names(pattern: str, names: list[str]) -> None:
    assert expand(pattern, 100) == names


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "is not a name such as gpu7"),
        ("gpu[0-3", "is not a name such as gpu7"),
        ("gpu0-3]", "is not a name such as gpu7"),
        ("gpu[[0-3]]", "is not a name such as gpu7"),
        ("gpu[]", "'' is not a range"),
        ("gpu[a-b]", "'a-b' is not a range"),
        ("gpu[1-2-3]", "'1-2-3' is not a range"),
        ("gpu[3-1]", "the range 3-1 is empty"),
        ("gpu[0-3,2-5]", "ranges overlap at 2"),
        ("gpu[1,1]", "ranges overlap at 1"),
        ("gpu[0-100]", "more nodes than can be described"),
        ("gpu[0-60,61-120]", "more nodes than can be described"),
        ("a[0-10]b[0-10]", "stands for more than 100 nodes"),
        ("gpu [0-3]", "is not the name of a node"),
        ("-gpu", "is not the name of a node"),
        ("n[1,11][1,11]", "names a node twice"),
    ],
)
def test_what_is_no_pattern(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        expand(pattern, 100)


@given(st.integers(0, 500), st.integers(0, 50), st.integers(1, 6))
def test_ranges_count_as_numbers_do(low: int, extra: int, width: int) -> None:
    names = expand(f"n[{low:0{width}d}-{low + extra}]", 1000)
    assert [int(name[1:]) for name in names] == list(range(low, low + extra + 1))
    assert {len(name) for name in names if len(name) - 1 <= width} <= {max(width, len(str(low))) + 1, width + 1}


@given(st.text("gn[]0123456789-, ", max_size=20) | st.text(max_size=20))
def test_any_text_is_names_or_a_value_error(pattern: str) -> None:
    try:
        names = expand(pattern, 50)
    except ValueError as caught:
        sound = bool(str(caught))
    else:
        sound = 1 <= len(names) <= 50 and len(set(names)) == len(names)
    assert sound
