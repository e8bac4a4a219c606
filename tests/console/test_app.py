"""The console over a real control process: who gets in, what the page says, and that nothing said becomes HTML."""

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from roadbed.console.app import FRAGMENTS, MAX_FORM_BYTES, mount
from roadbed.console.security import HEADERS
from roadbed.errors import AuthError
from roadbed.home import Home
from tests.console.conftest import Gateway, Platform, Visitor, chat_body, until

NASTY = '<img src=x onerror="alert(1)">&amp;\'{{7*7}}'


def test_the_link_of_up_signs_in_and_the_token_is_gone(platform: Platform, stranger: Visitor) -> None:
    answer = stranger.get(f"/?token={platform.token}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert platform.token not in cookie
    page = stranger.get("/")
    assert page.status == 200
    assert b"<h2>Services</h2>" in page.body
    assert platform.token.encode() not in page.body


def test_without_a_session_there_is_only_the_way_in(platform: Platform, stranger: Visitor) -> None:
    page = stranger.get("/")
    assert page.status == 401
    assert f"cat {platform.home.admin_token}".encode() in page.body
    assert b"Services" not in page.body
    assert stranger.get("/?token=wrong").status == 401
    assert stranger.get("/?token=").status == 401
    assert stranger.get("/console/live").status == 401
    assert stranger.chat().status == 401
    assert stranger.cookies == {}


def test_a_made_up_cookie_is_no_session(visitor: Visitor) -> None:
    for name in visitor.cookies:
        visitor.cookies[name] = "9999999999.nonce." + "0" * 64
    assert visitor.get("/").status == 401


def test_the_form_signs_in(platform: Platform, stranger: Visitor) -> None:
    wrong = stranger.post("/console/sign-in", b"token=nope")
    assert wrong.status == 401
    assert b"That is not the token of this platform." in wrong.body
    assert stranger.post("/console/sign-in", b"token=" + b"a" * MAX_FORM_BYTES).status == 401
    assert stranger.post("/console/sign-in", b"\xff\x00").status == 401
    assert stranger.post("/console/sign-in", b"token=" + platform.token.encode()).status == 303
    assert stranger.get("/").status == 200


def test_signing_out_takes_the_cookie(visitor: Visitor) -> None:
    answer = visitor.post("/console/sign-out")
    assert answer.status == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert visitor.get("/").status == 401


@pytest.mark.parametrize("path", ["/console/chat", "/console/sign-in", "/console/sign-out"])
def test_other_sites_cannot_post(platform: Platform, visitor: Visitor, gateway: Gateway, path: str) -> None:
    body = chat_body() if path == "/console/chat" else b"token=" + platform.token.encode()
    evil = {"origin": "http://evil.example"}
    for headers in (evil, {}, {"origin": visitor.origin, "sec_fetch_site": "cross-site"}):
        answer = visitor.ask("POST", path, body, **headers)
        assert answer.status == 403
        assert "set-cookie" not in answer.headers
    assert gateway.asked == []


def test_every_page_has_the_security_headers_and_the_api_is_left_alone(visitor: Visitor) -> None:
    for path in ("/", "/console/live", "/nothing", "/console/static/x/console.js"):
        headers = visitor.get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "unsafe-inline" not in HEADERS["content-security-policy"]
    assert visitor.get("/").headers["cache-control"] == "no-store"
    assert "content-security-policy" not in visitor.get("/api/version").headers


def test_pages_hold_no_inline_script_or_style(visitor: Visitor, stranger: Visitor) -> None:
    for page in (visitor.get("/").body.decode(), stranger.get("/").body.decode()):
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)
        assert all(" src=" in tag for tag in re.findall(r"<script[^>]*>", page))
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page)


def test_an_empty_platform_teaches_the_commands(visitor: Visitor) -> None:
    page = visitor.get("/").body.decode()
    assert "roadbed apply -f chat.yaml" in page
    assert "No request was routed in the last minute." in page


def test_live_has_every_fragment_and_points_that_go_on(visitor: Visitor) -> None:
    first = visitor.get("/console/live").json()
    assert set(first["fragments"]) == set(FRAGMENTS)
    assert first["error"] == ""
    assert first["models"] == []
    last = first["points"][-1]
    assert last[1:] == [0.0, None, None]
    assert visitor.get(f"/console/live?after={last[0] + 3600}").json()["points"] == []
    assert visitor.get("/console/live?after=x").status == 400


def test_services_show_as_the_store_has_them(platform: Platform, visitor: Visitor, gateway: Gateway) -> None:
    client = platform.client()
    engine = {"kind": "openai", "urls": [gateway.url]}
    client.apply([{"kind": "service", "name": "far", "model": "m", "aliases": ["other"], "engine": engine}])
    model = platform.home.root / "m.gguf"
    model.write_bytes(b"GGUF")
    client.apply([{"kind": "service", "name": "huge", "model": f"file:{model}", "resources": {"cpu": 4000}}])
    until(lambda: visitor.get("/console/live").json()["models"] == ["m", "other"])
    services = visitor.get("/console/live").json()["fragments"]["services"]
    assert "1 / 1 ready" in services
    until(lambda: "too_large" in visitor.get("/console/live").json()["fragments"]["services"])
    services = visitor.get("/console/live").json()["fragments"]["services"]
    assert "0 / 1 ready" in services
    assert "roadbed explain huge" in services
    assert visitor.get("/").body.decode().count("<option>") == 2
    events = visitor.get("/console/live").json()["fragments"]["events"]
    assert "service.created" in events


def test_names_and_texts_are_escaped(platform: Platform, visitor: Visitor, gateway: Gateway) -> None:
    engine = {"kind": "openai", "urls": [gateway.url]}
    spec = {"kind": "service", "name": "far", "model": NASTY, "aliases": [NASTY + "2"], "engine": engine}
    platform.client().apply([spec])
    until(lambda: visitor.get("/console/live").json()["models"])
    answer = visitor.get("/console/live").json()
    assert NASTY in answer["models"]
    page = visitor.get("/").body.decode()
    for html in (page, *answer["fragments"].values()):
        assert "<img" not in html
        assert "49" not in re.findall(r"onerror=.{0,80}", html)
    assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;amp;&#39;{{7*7}}" in page


def test_static_files_are_kept_for_ever_under_their_digest(visitor: Visitor, stranger: Visitor) -> None:
    found = re.findall(r'"(/console/static/[^"]+)"', visitor.get("/").body.decode())
    assert sorted(path.rpartition("/")[2] for path in found) == ["console.css", "console.js"]
    for path in found:
        answer = stranger.get(path)
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        old = re.sub(r"static/\w+/", "static/0123/", path)
        assert stranger.get(old).headers["cache-control"] == "no-store"
    assert stranger.get("/console/static/x/..%2fapp.py").status == 404
    assert stranger.get("/console/static/x/app.py").status == 404


def test_the_console_is_not_part_of_the_api_document(visitor: Visitor) -> None:
    paths = json.loads(visitor.get("/api/openapi.json").body)["paths"]
    assert all(path.startswith("/api/") for path in paths)


def test_a_home_without_token_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(AuthError, match="cannot be read: No such file"):
        mount(FastAPI(), home)
    home.admin_token.write_text("\n")
    with pytest.raises(AuthError, match="is empty"):
        mount(FastAPI(), home)


def test_the_home_is_the_environments_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "admin.token").write_text("t\n")
    monkeypatch.setenv("ROADBED_HOME", str(tmp_path))
    app = FastAPI()
    mount(app)
    with TestClient(app) as client:
        assert client.get("/").status_code == 401
        assert client.get("/?token=t", follow_redirects=False).status_code == 303
        assert client.get("/").status_code == 200, "no platform runs in that home, and the page says so"
        assert "no platform runs in" in client.get("/").text


def test_a_service_asleep_says_what_wakes_it(platform: Platform, visitor: Visitor) -> None:
    sleeper = {
        "kind": "service", "name": "nap", "model": "smollm2-135m-instruct", "replicas": "0..2", "scaling": {},
    }  # fmt: skip
    platform.client().apply([sleeper])
    until(lambda: b"asleep" in visitor.get("/").body)
    page = visitor.get("/").body.decode()
    assert "0..2, load decides (roadbed)" in page
    assert "No replica wanted" not in page
    platform.client().scale("nap", 0)
    until(lambda: b"set to 0 by hand" in visitor.get("/").body)
    assert b"No replica wanted" in visitor.get("/").body
