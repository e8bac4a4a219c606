"""The pool as people ask for it, over the API: queue, quotas, nodes, explanations, cordons."""

import pytest
from starlette.testclient import TestClient

from roadbed.scheduler.quota import Quota
from tests.control.harness import World

TASK = {"kind": "task", "name": "t", "command": "x"}


def apply(api: TestClient, *specs: dict[str, object]) -> None:
    assert api.post("/api/apply", json={"specs": list(specs)}).status_code == 200


def test_the_pool_before_anything_happened(api: TestClient) -> None:
    assert api.get("/api/queue").json() == {"queue": []}
    (quota,) = api.get("/api/quotas").json()["quotas"]
    assert (quota["name"], quota["num_waiting"]) == ("default", 0)
    (node,) = api.get("/api/nodes").json()["nodes"]
    assert (node["name"], node["chip"], node["free"], node["cpu_free"]) == ("local", "cpu", [1.0] * 4, 4.0)
    assert (node["schedulable"], node["holders"]) == (True, [])


def test_tasks_over_the_api(api: TestClient) -> None:
    apply(api, TASK)
    (row,) = api.get("/api/tasks").json()["tasks"]
    assert (row["name"], row["state"], row["attempt"], row["slots"]) == ("t", "queued", 0, [])
    assert api.get("/api/tasks/t").json()["spec"]["command"] == "x"
    told = api.get("/api/tasks/t/explain").json()
    assert (told["state"], [event["code"] for event in told["events"]]) == ("queued", ["task.submitted"])
    assert api.delete("/api/tasks/t").status_code == 409
    assert api.post("/api/tasks/t/stop").json()["wanted"] == "stop"
    for path in ("/api/tasks/gone", "/api/tasks/gone/explain"):
        assert api.get(path).status_code == 404
    assert api.get("/api/tasks", params={"limit": 0}).status_code == 400


def test_cordon_and_back(api: TestClient) -> None:
    said = api.post("/api/nodes/local/cordon", json={"drain": True, "risk": 0.25}).json()
    assert (said["cordoned"], said["drain"], said["risk"]) == (True, True, 0.25)
    (node,) = api.get("/api/nodes").json()["nodes"]
    assert (node["cordoned"], node["drain"], node["risk"]) == (True, True, 0.25)
    said = api.post("/api/nodes/local/cordon", json={"on": False}).json()
    assert (said["cordoned"], said["drain"], said["risk"]) == (False, False, 0.25)
    codes = [event["code"] for event in api.get("/api/events", params={"noun": "node"}).json()["events"]]
    assert codes == ["node.cordoned", "node.uncordoned"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/nodes/other/cordon", {}, 404),
        ("/api/nodes/local/cordon", {"risk": 1.5}, 400),
        ("/api/nodes/local/cordon", {"drained": True}, 400),
    ],
)
def test_cordons_that_make_no_sense(api: TestClient, path: str, body: dict[str, object], status: int) -> None:
    assert api.post(path, json=body).status_code == status


def test_quotas_over_the_api(api: TestClient) -> None:
    apply(api, {"kind": "quota", "name": "a", "resources": {"cpu": {"min": 1}}})
    assert api.delete("/api/quotas/a").json()["name"] == "a"
    assert api.delete("/api/quotas/a").status_code == 404


def test_an_idle_quota_shows_what_it_is_promised(world: World, api: TestClient) -> None:
    tree = (Quota(name="default"), Quota(name="a", min={"cpu": 1000}, max={"gpu": 4000}))
    world.state.pool.set_quotas(tree, world.store.clock())
    found = {quota["name"]: quota["resources"] for quota in api.get("/api/quotas").json()["quotas"]}
    assert found["default"] == {}
    assert set(found["a"]) == {"cpu", "gpu"}
    assert (found["a"]["cpu"]["used"], found["a"]["cpu"]["min"], found["a"]["cpu"]["max"]) == (0.0, 1.0, None)
    assert (found["a"]["gpu"]["min"], found["a"]["gpu"]["max"]) == (0.0, 4.0)
