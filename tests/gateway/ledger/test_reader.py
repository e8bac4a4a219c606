"""Exactly once, whatever crashes: a store keyed by request id, readers and writers killed at any point."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from roadbed.gateway.ledger.reader import Batch, LedgerReader
from roadbed.gateway.ledger.record import UsageRow
from roadbed.gateway.ledger.writer import Ledger
from tests.gateway.ledger.records import begin, end


def abandon(ledger: Ledger) -> None:
    """What kill −9 leaves: nothing sealed, locks dropped, a draft perhaps. (The thread is ended to leak nothing.)"""
    ledger._closing = True
    ledger._wake.set()
    ledger._syncer.join()
    for segment in [*ledger._full, ledger._segment]:
        os.close(segment.fd)
        segment._words.release()
        segment._map.close()
    if ledger._standby is not None:
        os.close(ledger._standby.fd)
        ledger._standby._words.release()
        ledger._standby._map.close()


class Store:
    """Rows and cursors in one transaction; a row already there stays as it is."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.cursors: dict[str, tuple[int, int]] = {}

    def save(self, batch: Batch) -> None:
        for row in batch.rows:
            self.rows.setdefault(row.request_id, row)
        self.cursors.update(batch.cursors)
        for stream in batch.finished:
            self.cursors.pop(stream, None)


class Crashes(RuleBasedStateMachine):
    """Three workers of one folder, one reader; each may die at any time."""

    counter = itertools.count()

    @initialize(tmp=st.just(None))
    def start(self, tmp: None) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=os.environ["PYTEST_TMP_LEDGER"]))
        self.workers: list[Ledger | None] = [None, None, None]
        self.open: list[list[str]] = [[], [], []]
        self.expected: dict[str, str] = {}
        self.store = Store()
        self.reader = LedgerReader(self.folder, {})

    def worker(self, which: int) -> Ledger:
        ledger = self.workers[which]
        if ledger is None:
            ledger = self.workers[which] = Ledger(self.folder, which, segment_bytes=1024, sync_interval_s=5.0)
        return ledger

    @rule(which=st.integers(0, 2), num=st.integers(1, 6))
    def begins(self, which: int, num: int) -> None:
        for _ in range(num):
            name = f"q{next(self.counter)}"
            self.worker(which).begin(begin(name))
            self.open[which].append(name)

    @rule(which=st.integers(0, 2), pick=st.integers(0, 99), twice=st.booleans())
    def ends(self, which: int, pick: int, twice: bool) -> None:
        if self.open[which]:
            name = self.open[which].pop(pick % len(self.open[which]))
            for _ in range(1 + twice):
                self.worker(which).end(end(name))
            self.expected[name] = "ok"

    @rule(which=st.integers(0, 2), gently=st.booleans())
    def worker_dies(self, which: int, gently: bool) -> None:
        ledger, self.workers[which] = self.workers[which], None
        if ledger is not None:
            ledger.close() if gently else abandon(ledger)
            self.expected.update(dict.fromkeys(self.open[which], "worker_lost"))
            self.open[which] = []

    @rule(max_rows=st.integers(1, 20))
    def polls_in_vain(self, max_rows: int) -> None:
        self.reader.poll(max_rows)

    @rule(max_rows=st.integers(1, 20))
    def ingests(self, max_rows: int) -> None:
        batch = self.reader.poll(max_rows)
        assert len({row.request_id for row in batch.rows}) == len(batch.rows)
        self.store.save(batch)
        self.reader.commit(batch)

    @rule(saved=st.booleans())
    def reader_dies(self, saved: bool) -> None:
        batch = self.reader.poll()
        if saved:
            self.store.save(batch)
        self.reader.close()
        self.reader = LedgerReader(self.folder, self.store.cursors)

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    def only_truth_is_stored(self) -> None:
        for name, row in self.store.rows.items():
            assert self.expected[name] == row.outcome

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        for which in range(3):
            self.worker_dies(which, gently=which == 0)
        for _ in range(3):
            self.ingests(10**6)
        assert {name: row.outcome for name, row in self.store.rows.items()} == self.expected
        assert self.store.cursors == {}
        self.reader.close()
        for draft in self.folder.iterdir():  # segments are all gone; drafts of the dead may remain
            assert draft.name.endswith(".seg.new")
            draft.unlink()
        self.folder.rmdir()


@pytest.fixture(autouse=True)
def _folder_for_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP_LEDGER", str(tmp_path))


def test_exactly_once_whatever_crashes(tmp_path: Path) -> None:
    run_state_machine_as_test(Crashes, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))


WRITER = """
import sys
from pathlib import Path
from roadbed.gateway.ledger.writer import Ledger
from tests.gateway.ledger.records import begin, end
ledger = Ledger(Path(sys.argv[1]), 0, segment_bytes=8192)
number = 0
while True:
    ledger.begin(begin(f"q{number}"))
    sys.stdout.write(f"b{number}\\n"); sys.stdout.flush()
    if number % 3:
        ledger.end(end(f"q{number}"))
        sys.stdout.write(f"e{number}\\n"); sys.stdout.flush()
    number += 1
"""


def test_kill_9_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(400)]
        reader = LedgerReader(tmp_path)
        living = reader.poll()
        assert living.finished == []
        assert all(row.outcome == "ok" for row in living.rows)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split()
    batch = reader.poll(10**6)
    outcomes = {row.request_id: row.outcome for row in batch.rows}
    begun = {f"q{line[1:]}" for line in said if line.startswith("b")}
    ended = {f"q{line[1:]}" for line in said if line.startswith("e")}
    assert begun <= outcomes.keys()
    assert all(outcomes[name] == "ok" for name in ended)
    assert len(outcomes.keys() - begun) <= 1  # appended, but killed before saying so
    assert sum(outcome == "ok" for outcome in outcomes.values()) - len(ended) in (0, 1)
    assert len(batch.finished) == 1
    reader.commit(batch)
    assert list(tmp_path.glob("*.seg")) == []
    reader.close()


def test_an_open_request_holds_the_cursor_and_its_segment_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0, segment_bytes=1024)
    ledger.begin(begin("long"))
    for index in range(30):
        ledger.begin(begin(f"q{index}"))
        ledger.end(end(f"q{index}"))
    reader = LedgerReader(tmp_path)
    batch = reader.poll()
    assert [cursor.sequence for cursor in batch.cursors.values()] == [1]
    reader.commit(batch)
    assert len(list(tmp_path.glob("*-000001.seg"))) == 1
    ledger.end(end("long"))
    batch = reader.poll()
    assert [row.request_id for row in batch.rows] == ["long"]
    reader.commit(batch)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    reader.close()
    ledger.close()


def test_rows_are_offered_until_they_are_committed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 0)
    for name in ("a", "b"):
        ledger.begin(begin(name))
        ledger.end(end(name))
    reader = LedgerReader(tmp_path)
    first = reader.poll(max_rows=1)
    assert [row.request_id for row in first.rows] == ["a"]
    assert [row.request_id for row in reader.poll().rows] == ["a", "b"]
    reader.commit(first)
    reader.commit(first)
    assert [row.request_id for row in reader.poll().rows] == ["b"]
    reader.close()
    ledger.close()


def test_a_file_without_its_first_page_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "w0-1-abc-000001.seg").write_bytes(bytes(4096))
    reader = LedgerReader(tmp_path)
    batch = reader.poll()
    assert (batch.rows, len(batch.finished), reader.num_torn) == ([], 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["w0-1-abc-000001.seg.bad"]
    assert "not a usage segment" in caplog.text
    reader.close()


def test_no_folder_is_no_usage(tmp_path: Path) -> None:
    assert LedgerReader(tmp_path / "none").poll().rows == []
