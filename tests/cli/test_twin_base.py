"""Option types and small talk of the twin's commands."""

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.twin_base import MAX_SEEDS, Names, Ratio, Seeds, check_baseline, counted, write_report
from roadbed.errors import UsageError


@pytest.mark.parametrize(
    ("text", "found"), [("42..45", (42, 43, 44, 45)), ("3, 1,2..3", (3, 1, 2)), ("7", (7,)), ("5..5", (5,))]
)
def test_seeds(text: str, found: tuple[int, ...]) -> None:
    assert Seeds().convert(text, None, None) == found
    assert Seeds().convert(found, None, None) == found


@pytest.mark.parametrize(
    "text", ["", "a", "1,,2", "5..4", "..3", "1..", "-1", "1.5", "1..2..3", f"0..{MAX_SEEDS}", "²"]
)
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(click.UsageError):
        Seeds().convert(text, None, None)


@given(st.text(max_size=12))
def test_any_text_is_seeds_or_a_usage_error(text: str) -> None:
    try:
        found = Seeds().convert(text, None, None)
    except click.UsageError:
        return
    assert found
    assert len(set(found)) == len(found)


def test_names() -> None:
    assert Names().convert(" b, a,b,", None, None) == ("b", "a")
    with pytest.raises(click.UsageError, match="names nothing"):
        Names().convert(" , ", None, None)


def test_ratios_are_finite() -> None:
    assert Ratio(0, 2).convert("1.5", None, None) == 1.5
    for wrong in ("nan", "inf", "3", "x"):
        with pytest.raises(click.UsageError):
            Ratio(0, 2).convert(wrong, None, None)


def test_the_baseline_is_one_of_the_policies() -> None:
    assert check_baseline(None, ("a", "fgd", "b"), "fgd") == "fgd"
    assert check_baseline(None, ("a", "b"), "fgd") == "b"
    assert check_baseline("a", ("a", "b"), "fgd") == "a"
    with pytest.raises(UsageError, match="not among the policies a") as raised:
        check_baseline("c", ("a",), "fgd")
    assert raised.value.hint == "add it: --policy a,c"


def test_reports_are_written_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(tmp_path / "r.html", "größer")
    assert (tmp_path / "r.html").read_text("utf-8") == "größer"
    assert "r.html" in capsys.readouterr().err
    with pytest.raises(UsageError, match="can't be written"):
        write_report(tmp_path, "x")


def test_progress_is_quiet_unless_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted("work") as told:
        told(1, 9)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("roadbed.cli.twin_base.HEARTBEAT_S", 0.0)
    with counted("work") as told:
        told(3, 9)
    assert capsys.readouterr().err == "work: 3 of 9 runs\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with counted("work") as told:
        told(9, 9)
    assert "work" in capsys.readouterr().err
