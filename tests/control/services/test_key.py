"""Keys: shown once, known by digest, revoked for good."""

import re

import pytest

from roadbed.control.services.key import NewKey, apply_key, create_key, digest_of, plan_key, remove_key
from roadbed.control.services.tenant import apply_tenant, remove_tenant
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.key import KeyRow, get_key, list_keys
from roadbed.control.store.tenant import get_tenant
from roadbed.errors import ConflictError, NotFoundError
from roadbed.spec.tenant import Key, Limits, Tenant
from tests.control.conftest import Clock


def make(store: Store, spec: Key) -> NewKey:
    with store.write() as connection:
        return create_key(store, connection, spec, "test")


def test_a_key_is_a_random_text_of_which_only_the_digest_is_kept(any_store: Store, clock: Clock) -> None:
    made = make(any_store, Key(name="k", expires_in=60, models=["m"]))
    assert re.fullmatch(r"rb_[a-z2-7]{12}_[a-z2-7]{32}", made.secret)
    assert made.secret.split("_")[1] == made.row.id
    assert made.secret.startswith(made.row.prefix)
    with any_store.read() as connection:
        row = get_key(connection, made.row.id)
        assert get_tenant(connection, "default") is not None
        everything = repr(list_events(connection)) + repr(row)
    assert row == made.row
    assert row.digest == digest_of(made.secret)
    assert row.expires_at == clock.now + 60
    assert made.secret.split("_")[2] not in everything


def test_keys_differ_and_share_no_slot(store: Store) -> None:
    keys = [make(store, Key(name="k")) for _ in range(20)]
    assert len({key.secret for key in keys}) == 20
    with store.read() as connection:
        tenant = get_tenant(connection, "default")
    assert tenant is not None
    assert len({key.row.slot for key in keys} | {tenant.slot}) == 21


def test_revoking_frees_the_slot_and_is_idempotent(any_store: Store, clock: Clock) -> None:
    made = make(any_store, Key(name="k"))
    revoked = remove_key(any_store, made.row.id, "test")
    assert (revoked.slot, revoked.revoked_at) == (None, clock.now)
    clock.tick(5.0)
    assert remove_key(any_store, made.row.id, "test") == revoked
    with pytest.raises(NotFoundError, match="there is no key 'nope'"):
        remove_key(any_store, "nope", "test")
    with any_store.read() as connection:
        assert [event.code for event in list_events(connection, noun="key")] == ["key.created", "key.revoked"]


def test_applying_a_key_twice_changes_it_and_shows_no_secret(store: Store) -> None:
    def applied(spec: Key) -> NewKey | KeyRow:
        with store.write() as connection:
            return apply_key(store, connection, spec, "test")

    spec = Key(name="k")
    first = applied(spec)
    assert isinstance(first, NewKey)
    assert applied(spec) == first.row
    with store.read() as connection:
        assert plan_key(connection, spec).change == "unchanged"
        planned = plan_key(connection, Key(name="k", limits=Limits(concurrency=2)))
    assert [field.field for field in planned.fields] == ["limits.concurrency"]
    changed = applied(Key(name="k", limits=Limits(concurrency=2)))
    assert isinstance(changed, KeyRow)
    assert (changed.id, changed.digest, changed.limits.concurrency) == (first.row.id, first.row.digest, 2)
    with store.read() as connection:
        assert list_keys(connection) == [changed]
    remove_key(store, first.row.id, "test")
    assert isinstance(applied(spec), NewKey)


def test_tenants_with_keys_stay(any_store: Store) -> None:
    with any_store.write() as connection:
        row = apply_tenant(any_store, connection, Tenant(name="a", limits=Limits(concurrency=1)), "test")
        assert apply_tenant(any_store, connection, Tenant(name="a", limits=Limits(concurrency=1)), "test") == row
        changed = apply_tenant(any_store, connection, Tenant(name="a"), "test")
        assert (changed.slot, changed.limits) == (row.slot, Limits())
    made = make(any_store, Key(name="k", tenant="a"))
    with pytest.raises(ConflictError, match="tenant 'a' still has 1 key") as caught:
        remove_tenant(any_store, "a", "test")
    assert caught.value.hint == f"roadbed keys revoke {made.row.id}"
    remove_key(any_store, made.row.id, "test")
    remove_tenant(any_store, "a", "test")
    with pytest.raises(NotFoundError):
        remove_tenant(any_store, "a", "test")
