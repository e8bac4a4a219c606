"""Every noun goes into the store and comes out equal."""

import msgspec

from roadbed.control.store import Store
from roadbed.control.store.key import KeyRow, get_key, insert_key, list_keys, revoke_key, touch_keys
from roadbed.control.store.replica import ReplicaRow, delete_replica, insert_replica, list_replicas, update_replica
from roadbed.control.store.service import ServiceRow, get_service, list_services, put_service
from roadbed.control.store.tenant import TenantRow, delete_tenant, get_tenant, list_tenants, put_tenant
from roadbed.engine.base import Capacity
from roadbed.spec.service import OpenAIEngine, Service
from roadbed.spec.tenant import Limits

SERVICE = ServiceRow(
    name="chat",
    spec=Service(name="chat", model="m", engine=OpenAIEngine(urls=["http://127.0.0.1:1"])),
    generation=3,
    launch_generation=2,
    num_desired=1,
    created_at=1.0,
    updated_at=2.5,
)
KEY = KeyRow(
    id="abc", name="k", tenant="a", digest="d1", prefix="rb_abc", scopes=["inference"], models=["m"],
    limits=Limits(concurrency=3, monthly_budget_cny=1.5), slot=0, created_at=1.0, expires_at=9.0,
)  # fmt: skip


def test_services(any_store: Store) -> None:
    with any_store.write() as connection:
        assert get_service(connection, "chat") is None
        put_service(connection, SERVICE)
        assert get_service(connection, "chat") == SERVICE
        gone = msgspec.structs.replace(SERVICE, deleted_at=5.0)
        put_service(connection, gone)
        assert list_services(connection) == []
        assert list_services(connection, deleted=True) == [gone]


def test_replicas(any_store: Store) -> None:
    capacity = Capacity(max_concurrency=4, kv_tokens=16384, context_tokens=4096, capabilities=("chat", "tools"))
    row = ReplicaRow(
        id="chat-0", service="chat", generation=1, spec=SERVICE.spec, idx=0, slot=5, since=2.0, created_at=1.0
    )
    with any_store.write() as connection:
        put_service(connection, SERVICE)
        insert_replica(connection, row)
        assert list_replicas(connection) == [row]
        ready = msgspec.structs.replace(row, state="ready", capacity=capacity, port=99, ready_at=3.0, retry_at=None)
        update_replica(connection, ready)
        assert list_replicas(connection, "chat") == [ready]
        assert list_replicas(connection, "other") == []
        delete_replica(connection, "chat-0")
        assert list_replicas(connection) == []


def test_tenants(any_store: Store) -> None:
    row = TenantRow(name="a", limits=Limits(tokens_per_minute=9), slot=0, created_at=1.0, updated_at=1.0)
    with any_store.write() as connection:
        put_tenant(connection, row)
        assert get_tenant(connection, "a") == row
        put_tenant(connection, msgspec.structs.replace(row, limits=Limits()))
        assert [tenant.limits for tenant in list_tenants(connection)] == [Limits()]
        delete_tenant(connection, "a")
        assert get_tenant(connection, "a") is None


def test_keys(any_store: Store) -> None:
    second = msgspec.structs.replace(KEY, id="xyz", digest="d2", slot=1, tenant="b", created_at=2.0, expires_at=None)
    with any_store.write() as connection:
        insert_key(connection, KEY)
        insert_key(connection, second)
        assert get_key(connection, "abc") == KEY
        assert list_keys(connection) == [KEY, second]
        assert list_keys(connection, tenant="b") == [second]
        touch_keys(connection, {"abc": 7.0})
        touch_keys(connection, {"abc": 6.0})
        revoke_key(connection, "abc", at=8.0)
        revoked = get_key(connection, "abc")
        assert revoked == msgspec.structs.replace(KEY, slot=None, revoked_at=8.0, last_used_at=7.0)
        assert [key.id for key in list_keys(connection)] == ["xyz"]
        assert [key.id for key in list_keys(connection, revoked=True)] == ["abc", "xyz"]


def test_a_key_is_live_until_revoked_or_expired() -> None:
    assert KEY.is_live(8.9)
    assert not KEY.is_live(9.0)
    assert not msgspec.structs.replace(KEY, revoked_at=1.0).is_live(2.0)
