"""Exit codes, errors, tables and the words for people."""

import json
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli import base
from roadbed.errors import NoCapacityError, NotFoundError, RoadbedError


def failing(error: BaseException) -> click.Command:
    @click.command("fail")
    @click.option("--number", type=int)
    def fail(number: int | None) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundError("gone"), 3),
        (NoCapacityError("full"), 5),
        (RoadbedError("bad"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("no"), 2),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert base.run(failing(error), []) == code


def test_an_error_is_a_sentence_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    base.run(failing(NotFoundError("no service 'x'", hint="roadbed ps")), [])
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error[E_NOT_FOUND]: no service 'x'\nhint: roadbed ps\n")


def test_wrong_usage_reads_like_any_other_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert base.run(failing(AssertionError()), ["--number", "x"]) == 2
    assert capsys.readouterr().err == (
        "error[E_USAGE]: Invalid value for '--number': 'x' is not a valid integer.\nhint: roadbed --help\n"
    )


def test_a_bug_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROADBED_HOME", str(tmp_path))
    assert base.run(failing(ZeroDivisionError("oops")), []) == 1
    path = tmp_path / "logs" / "cli-crash.log"
    assert f"error[E_BUG]: ZeroDivisionError: oops (details in {path})" in capsys.readouterr().err
    assert "Traceback" in path.read_text()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command("shout")
    def shout() -> None:
        assert click.get_current_context().color is (False if base.os.environ.get("NO_COLOR") else None)
        click.echo(click.style("red", fg="red"))

    monkeypatch.setenv("NO_COLOR", "1")
    assert base.run(shout, []) == 0
    assert capsys.readouterr().out == "red\n"
    monkeypatch.delenv("NO_COLOR")
    assert base.run(shout, []) == 0


def test_print_table_aligns_by_what_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    base.print_table(("A", "NUM"), [(click.style("long one", fg="red"), 7), ("x", 1234)], right=(1,))
    assert capsys.readouterr().out == "A          NUM\nlong one     7\nx         1234\n"


@given(st.lists(st.lists(st.text("ab c", max_size=9), min_size=3, max_size=3), max_size=5))
def test_every_row_begins_each_column_at_the_same_place(rows: list[list[str]]) -> None:
    lines: list[str] = []
    original = base.click.echo
    base.click.echo = lambda text: lines.append(click.unstyle(text))  # type: ignore[assignment]
    try:
        base.print_table(("X", "Y", "Z"), rows)
    finally:
        base.click.echo = original  # type: ignore[assignment]
    assert len(lines) == len(rows) + 1
    at = lines[0].index("Y")
    assert all(line[at - 1 : at].strip() == "" for line in lines)


@pytest.mark.parametrize(
    ("size", "text"), [(None, "-"), (0, "0 B"), (999, "999 B"), (98_362_432, "98.4 MB"), (2.5e13, "25.0 TB")]
)
def test_human_bytes(size: float | None, text: str) -> None:
    assert base.human_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")]
)
def test_age(seconds: float, text: str) -> None:
    assert base.age(1000.0 - seconds, now=1000.0) == text


def test_age_of_never() -> None:
    assert base.age(None) == "-"


def test_did_you_mean() -> None:
    assert base.did_you_mean("chatt", ["chat", "embed"]) == "; did you mean 'chat'?"
    assert base.did_you_mean("zzz", ["b", "a"]) == "; there is a, b"
    assert base.did_you_mean("zzz", []) == ""


def test_plural() -> None:
    assert [base.plural(count, "replica") for count in (0, 1, 2)] == ["0 replicas", "1 replica", "2 replicas"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("250ms", 0.25), ("7d", 604_800.0)])
def test_duration(text: str, seconds: float) -> None:
    assert base.Duration().convert(text, None, None) == seconds


def test_duration_names_the_units() -> None:
    with pytest.raises(click.UsageError, match="unknown unit 'parsec'"):
        base.Duration().convert("3 parsec", None, None)


def test_confirm_needs_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    base.confirm("Sure?", yes=True)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with base.sys.stdin, pytest.raises(base.UsageError, match="Nobody is there") as caught:
        base.confirm("Sure?", yes=False)
    assert caught.value.hint == "add -y"


def test_progress_is_silent_until_a_heartbeat_is_due(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    with base.progress("model") as tell:
        tell(1e6, 4e6, "download")
        now[0] = 11.0
        tell(2e6, 4e6, "download")
        tell(3e6, 4e6, "download")
    assert capsys.readouterr().err == "model: download 2.0 MB of 4.0 MB\n"


def test_print_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    base.print_json({"名": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"名": [1, None]}
