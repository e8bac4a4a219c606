"""Usage: once per request id, exact sums, cursors beside it."""

from typing import Any

from roadbed.control.store import Store
from roadbed.control.store.usage import (
    busy_minutes,
    insert_usage,
    list_cursors,
    list_samples,
    month_start,
    put_cursors,
    sum_usage,
)
from roadbed.gateway.ledger.record import UsageRow

DAY = 86_400.0
NEW_YEAR = 1_767_225_600.0


def settled(request_id: str, at: float = NEW_YEAR, **changes: Any) -> UsageRow:
    fields = {
        "key_id": "k1", "tenant": "a", "model": "m", "service": "chat", "endpoint": "chat", "batch": False,
        "outcome": "ok", "status": 200, "replica": "chat-0", "num_tries": 1, "prompt_tokens": 10, "cached_tokens": 4,
        "completion_tokens": 5, "estimated": False, "ttft_s": 0.5, "total_s": 1.0, "overhead_s": 0.001,
        "route": "least_cost", "cost_pico": 3,
    }  # fmt: skip
    return UsageRow(request_id=request_id, began_at=at - 1.0, ended_at=at, **(fields | changes))


def write(store: Store, *records: UsageRow) -> int:
    with store.write("usage") as connection:
        return insert_usage(connection, records)


def test_a_request_is_written_once(any_store: Store) -> None:
    assert write(any_store, settled("r1"), settled("r2")) == 2
    assert write(any_store, settled("r2", completion_tokens=999), settled("r3")) == 1
    assert write(any_store) == 0
    with any_store.read() as connection:
        (total,) = sum_usage(connection, [])
    assert (total.num_requests, total.completion_tokens) == (3, 15)


def test_a_large_batch_is_one_transaction(any_store: Store) -> None:
    assert write(any_store, *(settled(f"r{number}") for number in range(1201))) == 1201
    with any_store.read() as connection:
        assert sum_usage(connection, [])[0].num_requests == 1201


def test_sums_by_each_column_costliest_first(any_store: Store) -> None:
    write(
        any_store,
        settled("r1", cost_pico=5_000_000),
        settled("r2", key_id="k2", tenant="b", outcome="client_gone", estimated=True, ttft_s=0.0, cost_pico=9_000_000),
        settled("r3", at=NEW_YEAR + DAY, replica="chat-1", ttft_s=1.5, cost_pico=1_000_000),
    )
    with any_store.read() as connection:
        by_key = sum_usage(connection, ["key"])
        by_day = sum_usage(connection, ["day"])
        both = sum_usage(connection, ["tenant", "outcome"])
        assert len(sum_usage(connection, ["replica"])) == 2
    assert [(row.group["key"], row.cost_pico, row.num_ok) for row in by_key] == [
        ("k2", 9_000_000, 0),
        ("k1", 6_000_000, 2),
    ]
    assert by_key[1].mean_ttft_s == 1.0
    assert by_key[0].num_estimated == 1
    assert {row.group["day"]: row.num_requests for row in by_day} == {"2026-01-01": 2, "2026-01-02": 1}
    assert both[0].group == {"tenant": "b", "outcome": "client_gone"}


def test_filters(any_store: Store) -> None:
    write(any_store, settled("r1"), settled("r2", at=NEW_YEAR + 10), settled("r3", tenant="b", key_id="k2"))
    with any_store.read() as connection:
        assert sum_usage(connection, [], since=NEW_YEAR + 1)[0].num_requests == 1
        assert sum_usage(connection, [], until=NEW_YEAR + 10)[0].num_requests == 2
        assert sum_usage(connection, [], tenant="b")[0].num_requests == 1
        assert sum_usage(connection, [], key="k1")[0].num_requests == 2
        assert sum_usage(connection, ["day"], tenant="nobody") == []


def test_money_is_exact_beyond_what_one_column_can_add_up(any_store: Store) -> None:
    large = 2**62 + 12_345
    write(any_store, *(settled(f"r{number}", cost_pico=large) for number in range(5)))
    with any_store.read() as connection:
        assert sum_usage(connection, [])[0].cost_pico == 5 * large


def test_samples_are_the_newest_in_order(any_store: Store) -> None:
    write(any_store, *(settled(f"r{number}", at=NEW_YEAR + number, ttft_s=number) for number in range(6)))
    with any_store.read() as connection:
        samples = list_samples(connection, NEW_YEAR + 1, limit=3)
    assert [sample.at - NEW_YEAR for sample in samples] == [3, 4, 5]


def test_busy_minutes_are_sums_of_one_service(any_store: Store) -> None:
    first = int(NEW_YEAR // 60)
    write(
        any_store,
        settled("r1", at=NEW_YEAR + 0.5, total_s=2.0),
        settled("r2", at=NEW_YEAR + 59.9, total_s=3.0),
        settled("r3", at=NEW_YEAR + 60.0, total_s=5.0),
        settled("r4", at=NEW_YEAR + 1.0, total_s=7.0, service="other"),
        settled("r5", at=NEW_YEAR - 1.0, total_s=9.0),
    )
    with any_store.read() as connection:
        assert busy_minutes(connection, "chat", NEW_YEAR) == {first: 5.0, first + 1: 5.0}
        assert busy_minutes(connection, "chat", NEW_YEAR - 60.0)[first - 1] == 9.0
        assert busy_minutes(connection, "nobody", 0.0) == {}


def test_cursors_are_replaced_one_by_one(any_store: Store) -> None:
    with any_store.write("usage") as connection:
        put_cursors(connection, {"a": 1, "b": [2, 3]}, at=1.0)
        put_cursors(connection, {"a": 9}, at=2.0)
    with any_store.read() as connection:
        assert list_cursors(connection) == {"a": 9, "b": [2, 3]}


def test_month_start_is_utc() -> None:
    assert month_start(NEW_YEAR + 40 * DAY) == NEW_YEAR + 31 * DAY
    assert month_start(NEW_YEAR) == NEW_YEAR
