"""The API as a client sees it: auth, one shape of error, limits, and each noun's round trip."""

import json

import pytest
from starlette.testclient import TestClient

from roadbed.control.app import MAX_BODY_BYTES, create_app
from tests.control.harness import World

CHAT = {"kind": "service", "name": "chat", "model": "smollm2-135m-instruct", "replicas": "1..2"}


def error_of(response: object) -> tuple[int, str, str]:
    body = response.json()["error"]  # type: ignore[attr-defined]
    assert set(body) == {"code", "message", "field", "hint"}
    return response.status_code, body["code"], body["message"]  # type: ignore[attr-defined]


def test_every_route_but_two_needs_the_token(world: World) -> None:
    app = create_app(world.state)
    with TestClient(app) as client:
        for path, operations in app.openapi()["paths"].items():
            for method in operations:
                response = client.request(method, path.replace("{name}", "x").replace("{key_id}", "a" * 12))
                if path in ("/api/version", "/api/health"):
                    assert response.status_code == 200
                else:
                    assert error_of(response)[:2] == (401, "E_AUTH"), path
        wrong = client.get("/api/services", headers={"authorization": "Bearer nope"})
        assert error_of(wrong) == (401, "E_AUTH", "the admin token is wrong")
        assert wrong.headers["www-authenticate"] == "Bearer"


def test_services_round_trip(api: TestClient) -> None:
    (planned,) = api.post("/api/plan", json={"specs": [CHAT]}).json()["plans"]
    assert planned["change"] == "create"
    (applied,) = api.post("/api/apply", json={"specs": [CHAT]}).json()["applied"]
    assert (applied["generation"], applied["secret"]) == (1, None)
    assert api.get("/api/services").json()["services"][0]["spec"]["replicas"] == "1..2"
    scaled = api.post("/api/services/chat/scale", json={"replicas": 2}).json()
    assert scaled["num_desired"] == 2
    assert error_of(api.post("/api/services/chat/scale", json={"replicas": 9}))[:2] == (400, "E_USAGE")
    assert api.get("/api/services/chat/explain").json()["num_desired"] == 2
    assert api.get("/api/services/chat").json()["replicas"] == []
    assert api.get("/api/replicas").json() == {"replicas": []}
    assert api.delete("/api/services/chat").status_code == 200
    assert error_of(api.get("/api/services/chat"))[:2] == (404, "E_NOT_FOUND")


def test_spec_errors_name_the_key(api: TestClient) -> None:
    status, code, message = error_of(api.post("/api/apply", json={"specs": [{**CHAT, "replica": 1}]}))
    assert (status, code) == (400, "E_SPEC")
    assert "'replica' is not a key of service; did you mean 'replicas'?" in message
    assert error_of(api.post("/api/apply", json={"specs": [CHAT, CHAT]}))[0] == 400
    cluster = {"kind": "cluster", "name": "lab", "nodes": [{"server": "hgx-h100", "count": 2}]}
    status, code, message = error_of(api.post("/api/apply", json={"specs": [CHAT, cluster]}))
    assert (status, code) == (400, "E_SPEC")
    assert "cluster 'lab' is sound, but the platform finds its machines by itself" in message
    assert api.get("/api/services").json()["services"] == []


def test_keys_and_tenants_round_trip(api: TestClient) -> None:
    assert (
        api.post("/api/tenants", json={"name": "a", "limits": {"concurrency": 3}}).json()["limits"]["concurrency"] == 3
    )
    made = api.post("/api/keys", json={"name": "k", "tenant": "a"})
    assert made.status_code == 201
    secret, key = made.json()["secret"], made.json()["key"]
    assert secret.startswith(f"rb_{key['id']}_")
    assert secret not in api.get("/api/keys").text
    assert "digest" not in api.get("/api/keys").text
    assert error_of(api.delete("/api/tenants/a"))[:2] == (409, "E_CONFLICT")
    assert api.delete(f"/api/keys/{key['id']}").json()["revoked_at"] is not None
    assert api.get("/api/keys").json() == {"keys": []}
    assert len(api.get("/api/keys?revoked=true").json()["keys"]) == 1
    assert api.delete("/api/tenants/a").status_code == 204
    assert api.get("/api/tenants").json() == {"tenants": []}
    assert error_of(api.post("/api/keys", json={"name": "k", "tenant": "nobody"}))[:2] == (404, "E_NOT_FOUND")


def test_events_are_paged(api: TestClient) -> None:
    for name in "abc":
        api.post("/api/tenants", json={"name": name})
    first = api.get("/api/events?limit=2").json()
    second = api.get(f"/api/events?limit=2&after={first['next']}").json()
    assert [event["name"] for event in first["events"] + second["events"]] == ["a", "b", "c"]
    assert api.get("/api/events?noun=tenant&name=b").json()["events"][0]["code"] == "tenant.created"
    assert api.get("/api/events?newest=true&limit=1").json()["events"][0]["name"] == "c"
    assert api.get("/api/events?after=99").json() == {"events": [], "next": 99}


def test_usage_models_status_live(api: TestClient, world: World) -> None:
    usage = api.get("/api/usage?by=key&by=day&by=key").json()
    assert usage["by"] == ["key", "day"]
    assert usage["total"]["cost_cny"] == "0"
    assert api.get("/api/models").json()["models"][0]["name"] == "m"
    assert api.post("/api/models/pull", json={"model": "smollm2-135m-instruct"}).json()["state"] == "present"
    assert error_of(api.post("/api/models/pull", json={"model": "nope"}))[:2] == (404, "E_NOT_FOUND")
    assert api.get("/api/status").json()["healthy"] is False
    assert api.get("/api/live").json()["requests_per_s"] == 0.0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/apply", b"{"),
        ("POST", "/api/apply", b"[]"),
        ("POST", "/api/apply", b'{"specs": 1}'),
        ("POST", "/api/apply", b'{"specs": [], "more": 1}'),
        ("POST", "/api/apply", b'{"specs": [' + b"[" * 5000 + b"]" * 5000 + b"]}"),
        ("POST", "/api/keys", b'{"name": "\xff"}'),
        ("POST", "/api/keys", b'{"name": "a\\u0000"}'),
        ("POST", "/api/keys", b'{"name": "a", "models": ["\\ud800"]}'),
        ("GET", "/api/services/A", b""),
        ("GET", "/api/services/%00", b""),
        ("GET", "/api/events?limit=0", b""),
        ("GET", "/api/events?after=99999999999999999999", b""),
        ("GET", "/api/usage?by=nothing", b""),
        ("GET", "/api/usage?since=inf", b""),
        ("POST", "/api/services/chat/scale", b'{"replicas": true}'),
    ],
)
def test_wrong_requests_are_400_in_our_shape(api: TestClient, method: str, path: str, body: bytes) -> None:
    response = api.request(method, path, content=body, headers={"content-type": "application/json"})
    assert error_of(response)[0] == 400


def test_unknown_routes_and_methods(api: TestClient) -> None:
    assert error_of(api.get("/api/nope"))[:2] == (404, "E_NOT_FOUND")
    response = api.put("/api/services/chat")
    assert error_of(response)[0] == 405
    assert response.headers["allow"] == "DELETE, GET"


def test_unknown_query_parameters_are_refused_with_a_suggestion(api: TestClient) -> None:
    status, _, message = error_of(api.get("/api/events?limt=5"))
    assert status == 400
    assert message == "'limt' is not a query parameter of /api/events; did you mean 'limit'?"
    assert "it has none" in error_of(api.get("/api/services/chat?x"))[2]


def test_bodies_are_limited_declared_or_not(api: TestClient) -> None:
    large = b'{"specs": [' + b" " * MAX_BODY_BYTES + b"]}"
    headers = {"content-type": "application/json"}
    assert error_of(api.post("/api/apply", content=large, headers=headers))[0] == 413
    chunked = api.post("/api/apply", content=iter([large[:100], large[100:]]), headers=headers)
    assert error_of(chunked)[0] == 413


def test_a_fault_of_ours_shows_no_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.close()
    world.state.models = None  # type: ignore[assignment]
    with TestClient(create_app(world.state), raise_server_exceptions=False) as client:
        client.headers["authorization"] = f"Bearer {world.state.token}"
        response = client.get("/api/models")
    assert error_of(response) == (500, "E_FAILED", "a fault of ours; it is in the log of control")
    assert "AttributeError" not in response.text
    assert "AttributeError" in caplog.text


def test_the_openapi_document_has_no_422_and_documents_401(api: TestClient) -> None:
    document = api.get("/api/openapi.json").json()
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert "401" in operation["responses"] or path in ("/api/version", "/api/health")
