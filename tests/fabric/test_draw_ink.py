"""Marks: escaped words, colours that mean something, numbers for people."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.fabric.draw_ink import FAILED, PLANES, Colouring, heat, line, page, rate, rect, text


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
)
def test_any_words_make_a_sound_document(words: str) -> None:
    drawn = page(
        10, 10, words, text(1, 1, words) + rect(0, 0, 1, 1, fill="red", title=words) + line(0, 0, 1, 1, "red", 1, words)
    )
    root = ET.fromstring(drawn)
    assert words in "".join(root.itertext())


def test_heat_runs_from_grey_through_amber_to_red() -> None:
    assert (heat(0), heat(0.5), heat(1)) == ("#cbd5e1", "#fbbf24", "#b91c1c")
    assert (heat(-1), heat(2)) == (heat(0), heat(1))
    assert heat(0.25) not in (heat(0), heat(0.5))


@pytest.mark.parametrize(
    ("gbps", "words"), [(400, "400 Gb/s"), (25_600, "25.6 Tb/s"), (5_760_000, "5.76 Pb/s"), (0.5, "0.5 Gb/s")]
)
def test_rates_for_people(gbps: float, words: str) -> None:
    assert rate(gbps) == words


def test_failed_wins_over_busy_and_busy_over_plane() -> None:
    links = np.array([0, 1], np.int32)
    busy = np.array([0.2, 0.6, 1.0])
    broken = np.array([False, True, False])
    assert Colouring().of(links, 1) == (PLANES[1], "", 1.0)
    assert Colouring(busy).of(links, 1)[:2] == (heat(0.6), "busiest 60%, mean 40%")
    colour, words, width = Colouring(busy, broken).of(links, 1)
    assert (colour, words) == (FAILED, "1 of 2 directions failed")
    assert width > 1
    assert Colouring(busy, broken).of(np.array([2], np.int32), 1)[0] == heat(1)


def test_the_legend_says_what_is_shown() -> None:
    assert Colouring().legend(0, 0) == ""
    both = Colouring(np.zeros(1), np.zeros(1, bool)).legend(0, 0)
    assert "busiest link" in both
    assert "failed" in both
