"""What people are shown of autoscaling, and when a service that load scales is well."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from roadbed.control.scaling import Decided
from roadbed.control.services.apply import apply
from roadbed.control.services.explain import explain_service
from roadbed.control.services.scaling import NO_DECISION, num_needed, scaling_status
from roadbed.control.services.service import scale_service
from roadbed.control.services.status import platform_status
from roadbed.control.store import Store
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.service import ServiceRow, get_service
from roadbed.gateway.account import Account
from roadbed.spec.service import Service
from tests.control.harness import World, world_of

DECIDED = Decided(
    at=5.0, num_replicas=2, reason="load", amount=4.2, num_waiting=3, target=3.0, cold_start_s=1.5, num_affordable=2
)


def spec(**fields: Any) -> Service:
    return Service.model_validate(
        {"name": "chat", "model": "smollm2-135m-instruct", "replicas": "0..3", "scaling": {}} | fields
    )


def stored(store: Store) -> ServiceRow:
    with store.read() as connection:
        row = get_service(connection, "chat")
    assert row is not None
    return row


def scene(store: Store, root: Path, scenario: Callable[[World], None]) -> None:
    async def body() -> None:
        async with world_of(store, root) as world:
            scenario(world)

    asyncio.run(body())


def test_without_scaling_there_is_nothing_to_show(store: Store, tmp_path: Path) -> None:
    def scenario(world: World) -> None:
        apply(store, [spec(scaling=None)], world.state.pool, "test")
        assert scaling_status(world.state, stored(store)) is None

    scene(store, tmp_path, scenario)


def test_before_and_after_a_decision(store: Store, tmp_path: Path) -> None:
    def scenario(world: World) -> None:
        apply(store, [spec()], world.state.pool, "test")
        row = stored(store)
        assert row.slot is not None
        worker = Account(world.state.home.account, num_workers=2, worker=1)
        worker.write(row.slot, 6, 0, 0, 0)
        worker.close()
        early = scaling_status(world.state, row)
        assert early is not None
        assert (early.why, early.decided_at, early.num_waiting, early.target) == (NO_DECISION, None, 6, 3.0)
        world.state.scaling["chat"] = DECIDED
        told = scaling_status(world.state, row)
        assert told is not None
        assert told.why == "load: 4.2 in flight and 3 waiting, 3 is right for one"
        assert (told.num_min, told.num_max, told.num_affordable, told.cold_start_s) == (0, 3, 2, 1.5)
        said = explain_service(world.state, "chat")
        assert said.summary == "asleep: no replica until a request comes, which is held meanwhile"
        assert said.scaling == told

    scene(store, tmp_path, scenario)


def test_a_number_set_by_hand_is_named(store: Store, tmp_path: Path) -> None:
    def scenario(world: World) -> None:
        apply(store, [spec()], world.state.pool, "test")
        world.state.scaling["chat"] = DECIDED
        scale_service(store, "chat", 2, "admin")
        told = scaling_status(world.state, stored(store))
        assert told is not None
        assert (told.pinned, told.reason) == (True, "pinned")
        assert told.why == "set to 2 by hand; `roadbed scale chat auto` lets load decide again"
        assert platform_status(world.state, []).services[0].num_needed == 2

    scene(store, tmp_path, scenario)


ROW = ServiceRow(
    name="chat", spec=spec(replicas="1..4"), generation=1, launch_generation=1, num_desired=3, created_at=0.0,
    updated_at=0.0,
)  # fmt: skip


def replica(state: Any, reason: str = "") -> ReplicaRow:
    return ReplicaRow(
        id="chat-0", service="chat", generation=1, spec=ROW.spec, idx=0, slot=0, state=state, reason=reason
    )


@pytest.mark.parametrize(
    ("changes", "replicas", "needed"),
    [
        ({}, [replica("ready"), replica("starting")], 1),
        ({}, [replica("ready"), replica("pending")], 1),
        ({}, [replica("ready"), replica("pending", "no_capacity")], 3),
        ({}, [replica("failed")], 3),
        ({"num_desired": 0}, [], 0),
        ({"pinned_at": 1.0}, [replica("starting")], 3),
        ({"deleted_at": 1.0}, [replica("failed")], 0),
        ({"spec": spec(scaling=None)}, [replica("starting")], 3),
    ],
)
def test_what_load_asks_for_may_be_on_its_way_but_not_stuck(
    changes: dict[str, Any], replicas: list[ReplicaRow], needed: int
) -> None:
    assert num_needed(msgspec.structs.replace(ROW, **changes), replicas) == needed


def test_the_api_scales_by_hand_and_lets_load_decide_again(world: World, api: TestClient) -> None:
    apply(world.store, [spec()], world.state.pool, "test")
    by_hand = api.post("/api/services/chat/scale", json={"replicas": 2}).json()
    assert (by_hand["num_desired"], by_hand["scaling"]["pinned"]) == (2, True)
    released = api.post("/api/services/chat/scale", json={"replicas": "auto"}).json()
    assert (released["num_desired"], released["scaling"]["pinned"]) == (2, False)
    wrong = api.post("/api/services/chat/scale", json={"replicas": "many"})
    assert wrong.status_code == 400
    apply(world.store, [spec(scaling=None)], world.state.pool, "test")
    refused = api.post("/api/services/chat/scale", json={"replicas": "auto"})
    assert (refused.status_code, refused.json()["error"]["hint"]) == (
        400,
        "add scaling: {} to its spec, then: roadbed apply -f chat.yaml",
    )
    (status,) = api.get("/api/status").json()["services"]
    assert (status["scaling"], status["num_needed"]) == (None, 2)


def test_a_plan_says_what_load_will_do(world: World, api: TestClient) -> None:
    written = spec(scaling={"cold_start": "40s"}).model_dump(mode="json")
    (plan,) = api.post("/api/plan", json={"specs": [written]}).json()["plans"]
    assert plan["effects"] == [
        "starts 0 replicas of smollm2-135m-instruct",
        "load decides: 0 to 3 replicas (roadbed), 3 requests in flight are right for one",
        "with no replica left, requests are held up to 90 s while one starts",
    ]
