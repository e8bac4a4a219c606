"""Usage reports: exact money, named keys, the right window."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from roadbed.control.services.key import create_key
from roadbed.control.services.usage import cny, report_usage
from roadbed.control.store import Store
from roadbed.control.store.usage import insert_usage
from roadbed.spec.tenant import Key
from tests.control.conftest import Clock
from tests.control.store.test_usage import settled


def test_report_by_key_names_the_keys(any_store: Store, clock: Clock) -> None:
    with any_store.write() as connection:
        made = create_key(any_store, connection, Key(name="mine"), "test")
        records = [
            settled("r1", at=clock.now - 10.0, key_id=made.row.id, cost_pico=2 * 10**12),
            settled("r2", at=clock.now - 5.0, key_id="gone", cost_pico=1),
            settled("r3", at=clock.now - 100.0, cost_pico=7),
        ]
        insert_usage(connection, records)
    report = report_usage(any_store, ["key"], since=clock.now - 60.0)
    assert [row.group["key"] for row in report.rows] == [made.row.id, "gone"]
    assert report.key_names == {made.row.id: "mine", "gone": ""}
    assert report.total.cost_pico == 2 * 10**12 + 1
    assert report.until == clock.now


def test_without_grouping_there_is_only_the_total(store: Store, clock: Clock) -> None:
    report = report_usage(store, [], since=0.0)
    assert (report.rows, report.total.num_requests, report.total.cost_pico) == ([], 0, 0)


def test_cny_is_plain_and_exact() -> None:
    assert [cny(pico) for pico in (0, 1, 10**12, 31_500_000, 1_500_000_000_000)] == [
        "0", "0.000000000001", "1", "0.0000315", "1.5",
    ]  # fmt: skip


@given(st.integers(0, 10**24))
def test_cny_reads_back(pico: int) -> None:
    assert Decimal(cny(pico)) * 10**12 == pico
