"""What the page shows is what was measured."""

from roadbed.twin.fill import FillRow
from roadbed.twin.report import fill_report

KEYS = ("0", "80", "100", "130")


def row(policy: str, seed: int, at: float, workload: str = "w") -> FillRow:
    values = dict(zip(KEYS, (0.0, 80.0, at, at), strict=True))
    return FillRow(policy, workload, seed, values, dict.fromkeys(KEYS, 5.0), 1000.0)


def test_fill_report() -> None:
    rows = [row(policy, seed, at + seed) for policy, at in (("fgd", 90.0), ("roadbed", 91.0)) for seed in (1, 2)]
    text = fill_report([*rows, row("fgd", 1, 50.0, "other<")], "fgd")
    assert "<h2>w</h2>" in text
    assert "<h2>other&lt;</h2>" in text
    assert text.count("<svg") == 6
    assert "92.50 ± 6.35" in text
    assert "1.00 ± 0.00" in text
    assert "2 seeds (1..2)" in text
    assert "vs fgd @100" in text


def test_short_runs_compare_at_their_end() -> None:
    short = FillRow("a", "w", 1, {"0": 0.0, "60": 60.0}, {"0": 1.0, "60": 2.0}, 1.0)
    text = fill_report([short], "a")
    assert "vs a @60" in text
    assert "Allocated at 60 % arrived" in text
