"""The chat's way through: streamed as it comes, with a key of our own, and stopped when either side leaves."""

import asyncio
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.console.chat import MAX_BODY_BYTES, MAX_CHATS, NEWS_S, ConsoleKey, decode
from roadbed.console.reader import Reader
from roadbed.errors import UsageError
from tests.console.conftest import Gateway, Platform, Visitor, begin, chat_body, chunk, say_hello, until, whole


def test_an_answer_streams_with_what_it_took(visitor: Visitor, gateway: Gateway, platform: Platform) -> None:
    answer = visitor.chat("Hi")
    assert answer.status == 200
    assert answer.body.count(b"data:") == 3
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.headers["x-roadbed-replica"] == "chat-0"
    assert answer.headers["x-roadbed-route"] == "least_cost"
    assert "x-secret-of-the-gateway" not in answer.headers
    [(authorization, body)] = gateway.asked
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    [key] = platform.client().api_keys()
    assert (key["name"], key["tenant"], key["scopes"]) == ("console", "default", ["inference"])
    assert key["expires_at"] is not None
    assert authorization.startswith(f"Bearer rb_{key['id']}_")


def test_pieces_come_before_the_end(visitor: Visitor, gateway: Gateway) -> None:
    more = threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        chunk(handler, b"data: first\n\n")
        assert more.wait(10.0)
        chunk(handler, b"data: [DONE]\n\n")
        chunk(handler, b"")

    gateway.script = slowly
    connection = http.client.HTTPConnection(visitor.host, visitor.port, timeout=10.0)
    try:
        response = visitor.begin(connection, "POST", "/console/chat", chat_body(), origin=visitor.origin)
        assert response.readline() == b"data: first\n"
        more.set()
        assert response.read() == b"\ndata: [DONE]\n\n"
    finally:
        connection.close()


def test_one_key_for_all_chats_and_another_when_refused(
    visitor: Visitor, gateway: Gateway, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visitor.chat().status == 200
    assert visitor.chat().status == 200
    assert len({authorization for authorization, _ in gateway.asked}) == 1
    refused = gateway.asked[0][0]

    def choosy(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["authorization"] == refused:
            whole(handler, 401, {"error": {"message": "Unknown API key."}})
        else:
            say_hello(handler)

    gateway.script = choosy
    monkeypatch.setattr("roadbed.console.chat.NEWS_S", 0.0)
    # Keys older than NEWS_S are known everywhere: this one is really refused. The deadline shrinks with it.
    assert visitor.chat().status == 401
    monkeypatch.setattr("roadbed.console.chat.NEWS_S", 0.2)
    until(lambda: visitor.chat().status == 200)
    assert len(platform.client().api_keys()) == 2


def test_a_new_key_is_given_a_moment_to_be_known(visitor: Visitor, gateway: Gateway, platform: Platform) -> None:
    def slow_to_hear(handler: BaseHTTPRequestHandler) -> None:
        if len(gateway.asked) < 3:
            whole(handler, 401, {"error": {"message": "Unknown API key."}})
        else:
            say_hello(handler)

    gateway.script = slow_to_hear
    assert visitor.chat().status == 200
    assert len({authorization for authorization, _ in gateway.asked}) == 1
    assert len(platform.client().api_keys()) == 1


def test_the_key_is_made_once_by_many_at_once(platform: Platform) -> None:
    now = [0.0]

    async def ask() -> tuple[set[str], str, str]:
        key = ConsoleKey(Reader(platform.home, platform.token), lambda: now[0])
        first = set(await asyncio.gather(*(key.get() for _ in range(5))))
        same = await key.get(refused=next(iter(first)))
        now[0] = NEWS_S + 1
        return first, same, await key.get(refused=same)

    first, same, other = asyncio.run(ask())
    assert first == {same}
    assert other != same
    assert len(platform.client().api_keys()) == 2


def test_the_gateways_errors_pass_through(visitor: Visitor, gateway: Gateway) -> None:
    gateway.script = lambda handler: whole(handler, 429, {"error": {"message": "busy", "code": "shed"}})
    answer = visitor.chat()
    assert answer.status == 429
    assert answer.json()["error"]["message"] == "busy"


def test_a_gateway_that_dies_in_the_middle_ends_in_an_error_event(visitor: Visitor, gateway: Gateway) -> None:
    def die(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        chunk(handler, b"data: first\n\n")

    gateway.script = die
    answer = visitor.chat()
    assert answer.status == 200
    last = answer.body.strip().split(b"\n\n")[-1]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "E_UNREACHABLE"


def test_no_gateway_is_said(platform: Platform, visitor: Visitor) -> None:
    path = platform.home.run / "platform.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "gateway_url": "http://127.0.0.1:9"}))
    answer = visitor.chat()
    assert answer.status == 502
    assert "no gateway answers at http://127.0.0.1:9" in answer.json()["error"]["message"]


@pytest.mark.parametrize("when", ["before the head", "in the middle"])
def test_a_browser_that_leaves_stops_the_gateway(visitor: Visitor, gateway: Gateway, when: str) -> None:
    begun = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        if when == "in the middle":
            begin(handler)
            chunk(handler, b"data: first\n\n")
        begun.set()
        handler.connection.settimeout(10.0)
        if handler.connection.recv(1) == b"":
            gateway.left.set()

    gateway.script = endless
    connection = http.client.HTTPConnection(visitor.host, visitor.port, timeout=10.0)
    sent = {"cookie": "; ".join(f"{name}={value}" for name, value in visitor.cookies.items()), "origin": visitor.origin}
    connection.request("POST", "/console/chat", chat_body(), sent)
    assert begun.wait(10.0)
    connection.close()
    assert gateway.left.wait(10.0)


def test_too_many_chats_are_refused_and_those_that_end_make_room(visitor: Visitor, gateway: Gateway) -> None:
    release = threading.Event()

    def held(handler: BaseHTTPRequestHandler) -> None:
        assert release.wait(20.0)
        say_hello(handler)

    gateway.script = held
    connections = [http.client.HTTPConnection(visitor.host, visitor.port, timeout=20.0) for _ in range(MAX_CHATS)]
    try:
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        for connection in connections:
            connection.request("POST", "/console/chat", chat_body(), {"cookie": cookie, "origin": visitor.origin})
        until(lambda: len(gateway.asked) == MAX_CHATS)
        assert visitor.chat().status == 429
        release.set()
        assert [connection.getresponse().read()[-8:] for connection in connections] == [b"[DONE]\n\n"] * MAX_CHATS
        assert visitor.chat().status == 200
    finally:
        release.set()
        for connection in connections:
            connection.close()


def test_a_conversation_too_large_is_refused(visitor: Visitor, gateway: Gateway) -> None:
    answer = visitor.chat("x" * MAX_BODY_BYTES)
    assert answer.status == 400
    assert "start a new one" in answer.json()["error"]["message"]
    assert gateway.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"model":"m"}', b'{"model":"","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","messages":[]}', b'{"model":"m","messages":[{"role":"tool","content":"x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0}',
        b"[" * 100_000, b'{"model":"\xff"}',
    ],
)  # fmt: skip
def test_what_is_no_chat_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="the chat request is wrong"):
        decode(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_chat_or_refused(body: bytes) -> None:
    try:
        chat = decode(body)
    except UsageError:
        return
    assert chat.messages
