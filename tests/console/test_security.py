"""Security headers: on everything of ours, errors too; an answer may say more about caching, never less about safety."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from roadbed.console.security import HEADERS, SecurityHeaders


async def plain(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x", headers={"x-frame-options": "ALLOWALL"})


async def kept(_: Request) -> PlainTextResponse:
    return PlainTextResponse("x", headers={"cache-control": "public"})


def test_headers() -> None:
    app = SecurityHeaders(Starlette(routes=[Route("/", plain), Route("/kept", kept), Route("/api/x", plain)]))
    with TestClient(app) as client:
        for path in ("/", "/kept", "/missing", "/apiary"):
            answer = client.get(path)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert client.get("/").headers["cache-control"] == "no-store"
        assert client.get("/kept").headers["cache-control"] == "public"
        assert "content-security-policy" not in client.get("/api/x").headers


def test_the_policy_lets_nothing_foreign_in() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
