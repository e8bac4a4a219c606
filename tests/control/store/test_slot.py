"""Slots: never two owners, freed ones rest, full is an error."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from roadbed.control.store import Store
from roadbed.control.store.meta import get_value
from roadbed.control.store.slot import take_slot
from roadbed.control.store.tables import api_keys, tenants
from roadbed.control.store.tenant import delete_tenant
from roadbed.errors import NoCapacityError


def add(store: Store, name: str, num_slots: int) -> int:
    with store.write() as connection:
        slot = take_slot(connection, [tenants.c.slot, api_keys.c.slot], "tenant", num_slots)
        connection.execute(insert(tenants).values(name=name, limits={}, slot=slot, created_at=0, updated_at=0))
    return slot


def test_a_freed_slot_rests_until_the_others_had_their_turn(any_store: Store) -> None:
    assert [add(any_store, name, 4) for name in "abc"] == [0, 1, 2]
    with any_store.write() as connection:
        delete_tenant(connection, "a")
    assert add(any_store, "d", 4) == 3
    assert add(any_store, "e", 4) == 0
    with pytest.raises(NoCapacityError, match="all 4 slots of the account for a tenant"):
        add(any_store, "f", 4)
    with any_store.read() as connection:
        assert get_value(connection, "slot.tenant") == 1


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), max_size=30))
def test_no_two_owners_whatever_the_order(store: Store, adds: list[bool]) -> None:
    with store.write() as connection:
        connection.execute(tenants.delete())
    held: dict[str, int] = {}
    for number, grow in enumerate(adds):
        if grow and len(held) < 5:
            slot = add(store, str(number), 5)
            assert slot not in held.values()
            held[str(number)] = slot
        elif held:
            name = next(iter(held))
            del held[name]
            with store.write() as connection:
                delete_tenant(connection, name)
