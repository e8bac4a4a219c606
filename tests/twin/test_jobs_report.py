"""Tables compare seed by seed, pages draw what was measured."""

from roadbed.twin.jobs_report import COLUMNS, RATIOS, jobs_report, lines_of, loans_report
from roadbed.twin.loans import LoansRow
from roadbed.twin.metrics import Figures, Spread
from roadbed.twin.scenario import JobsRow, Pictures


def figures(queue_h: float) -> Figures:
    spread = Spread(queue_h * 3600, queue_h * 1800, queue_h * 7200)
    return Figures(
        num_jobs=9, num_refused=0, num_stuck=0, queue_s=spread, jct_s=spread, allocation=0.8, utilisation=0.75, fragmentation=0.05,
        goodput=0.9, num_preemptions=3, num_moves=1, lost_device_h=2.5, makespan_s=9.0,
    )  # fmt: skip


def test_lines_are_means_and_paired_ratios() -> None:
    groups = [("new", [(1, figures(1.0)), (2, figures(2.0))]), ("fifo", [(1, figures(3.0)), (2, figures(6.0))])]
    headers, lines = lines_of(groups, "fifo")
    assert len(headers) == 1 + len(COLUMNS) + len(RATIOS)
    assert [len(line) for line in lines] == [len(headers)] * 2
    new, fifo = (dict(zip(headers, line, strict=True)) for line in lines)
    assert new["queue h"].startswith("1.50 ± ")
    assert new["fifo ÷ own: queue"] == "3.00 ± 0.00×"
    assert fifo["fifo ÷ own: queue"] == ""
    assert new["allocated %"] == "80.00 ± 0.00"


def test_pages() -> None:
    names = [f"quota-{at}" for at in range(10)]
    pictures = Pictures(7200.0, 80.0, {name: [1.0, 2.0] for name in names}, [3.0, 4.0], [[0.5, 1.0]])
    rows = [JobsRow("a<b", 1, figures(1.0), pictures=pictures), JobsRow("fifo", 1, figures(2.0))]
    text = jobs_report(rows, "fifo", ["9 jobs"])
    assert text.count("<svg") == 3 + 2 + 2
    assert "a&lt;b" in text
    assert "a<b" not in text
    assert "3 others" in text
    assert "2.00×" in text
    assert jobs_report([rows[1]], "fifo", []).count("<svg") == 3


def test_loans_page() -> None:
    rows = [
        LoansRow("static", 1, figures(2.0), 0.001, 0),
        LoansRow("loans", 1, figures(1.0), 0.002, 7, [(0.0, 1.0, 1), (3600.0, 2.0, 2)]),
    ]
    text = loans_report(rows, "static", ["facts"])
    assert text.count("<svg") == 4
    assert "<td>0.20</td><td>7.00</td>" in text
