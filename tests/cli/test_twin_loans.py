"""Lending as a user asks about it."""

from pathlib import Path

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
DEMAND = str(DATA / "genai_qps.csv")


def trace(folder: Path) -> str:
    path = folder / "t.csv"
    rows = [f"{at * 600},{1800 + 600 * (at % 4)},4" for at in range(30)]
    path.write_text("submit_s,duration_s,num_devices\n" + "\n".join(rows))
    return str(path)


def test_both_arrangements_in_json_and_table(shell: Shell, tmp_path: Path) -> None:
    args = ("twin", "loans", "--trace", trace(tmp_path), "--demand", DEMAND, "--workers", "1")
    said = shell(*args, "--json")
    assert said.code == 0, said.err
    rows = said.json()["rows"]
    assert [row["policy"] for row in rows] == ["static", "loans"]
    assert all(row["num_jobs"] == 30 and 0 <= row["slo_violations"] < 0.05 for row in rows)
    assert rows[0]["num_returns"] == 0
    report = tmp_path / "r.html"
    said = shell(*args, "--report", str(report))
    assert said.code == 0, said.err
    assert "SLO VIOLATIONS %" in said.out
    assert [line.split()[0] for line in said.out.splitlines()] == ["POLICY", "static", "loans"]
    assert "ready replicas" in report.read_text("utf-8")


def test_wrong_questions(shell: Shell, tmp_path: Path) -> None:
    for args, code, words in (
        (("--demand", "none.csv"), 3, "there is no file none.csv"),
        (("--demand", str(DATA / "philly.csv")), 2, "columns timestamp_anon, value missing"),
        (("--demand", DEMAND, "--policy", "x"), 2, "no policy 'x'"),
        (("--demand", DEMAND, "--service", "0"), 2, "--service"),
    ):
        said = shell("twin", "loans", "--trace", trace(tmp_path), *args)
        assert (said.code, words in said.err) == (code, True), said.err
