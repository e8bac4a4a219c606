"""What a client sees: routes, keys, limits, wrong requests, changed snapshots."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roadbed.gateway import plane
from roadbed.gateway.openai.bodies import Parsed
from roadbed.gateway.snapshot import LimitsEntry, Snapshot
from tests.gateway.rig import (
    CHAT,
    Engine,
    Gateway,
    Response,
    ask,
    event,
    gateway,
    replies,
    snapshot,
    streams,
    until,
)


def run(tmp_path: Path, scenario: Any, answer: Any = None, **options: Any) -> None:
    """Runs `scenario(gateway, engine)` with one engine."""

    async def body() -> None:
        engine = await Engine(answer or replies()).start()
        try:
            async with gateway(tmp_path, snapshot([engine.port], **options)) as g:
                await scenario(g, engine)
        finally:
            await engine.stop()

    asyncio.run(body())


def test_models_lists_names_and_aliases_and_shows_one(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        listed = (await ask(g.port, "/v1/models", method="GET")).json()
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["m", "m-alias"]
        assert set(listed["data"][0]) == {"id", "created", "owned_by", "object"}
        one = await ask(g.port, "/v1/models/m-alias", method="GET")
        assert one.json()["id"] == "m-alias"
        missing = await ask(g.port, "/v1/models/nope", method="GET")
        assert (missing.status, missing.error["code"]) == (404, "model_not_found")

    run(tmp_path, scenario)


def test_probes_need_no_key(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        assert (await ask(g.port, "/health", method="GET", key=None)).json() == {"status": "ok"}
        ready = await ask(g.port, "/ready", method="GET", key=None)
        assert (ready.status, ready.json()["replicas"]) == (200, {"m": 1})
        assert "version" in (await ask(g.port, "/version", method="GET", key=None)).json()
        text = (await ask(g.port, "/metrics", method="GET", key=None)).body.decode()
        assert "# TYPE roadbed_ttft_seconds histogram" in text

    run(tmp_path, scenario)


def test_not_ready_without_replicas(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        g.publish(snapshot([]))
        await until(lambda: not g.worker.plane.tables.services["m"].router.replicas)
        assert (await ask(g.port, "/ready", method="GET", key=None)).status == 503

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "unknown_url"),
        ("POST", "/v1/nothing", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        reply = await ask(g.port, path, method=method)
        assert (reply.status, reply.error["code"]) == (status, code)

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", [None, "", "sk-other", "rb_abc_wrong", "rb_nobody_secret", "rb_abc", "\x80\x81"])
def test_a_wrong_key_is_401(tmp_path: Path, key: str | None) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        reply = await ask(g.port, body=CHAT, key=key)
        assert (reply.status, reply.error["type"]) == (401, "authentication_error")
        assert engine.bodies == []
        assert g.rows() == []

    run(tmp_path, scenario)


def test_expiry_scopes_and_model_lists_hold(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        base = snapshot([engine.port])
        for changes, status, code in (
            ({"expires_at": 1.0}, 401, "expired_api_key"),
            ({"scopes": ("usage:read",)}, 403, "missing_scope"),
            ({"models": ("m-alias",)}, 403, "model_not_allowed"),
        ):
            key = msgspec.structs.replace(base.keys[0], **changes)
            g.publish(msgspec.structs.replace(base, keys=(key,)))
            version = g.worker.plane.tables.version
            await until(lambda version=version: g.worker.plane.tables.version > version)
            reply = await ask(g.port, body=CHAT)
            assert (reply.status, reply.error["code"]) == (status, code)

    run(tmp_path, scenario)


def test_a_revoked_key_is_refused_within_a_second(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        assert (await ask(g.port, body=CHAT)).status == 200
        g.publish(msgspec.structs.replace(snapshot([engine.port]), keys=()))
        revoked_at = asyncio.get_running_loop().time()
        while (await ask(g.port, body=CHAT)).status != 401:
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - revoked_at < 1.0

    run(tmp_path, scenario)


BAD_BODIES: list[tuple[Any, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b'"x"', None),
    (b"\xff\xfe", None),
    (b'{"model": "\xff"}', None),
    (b"[" * 100_000, None),
    (b'{"model":"m","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}", None),
    ({"messages": []}, "model"),
    ({"model": "m"}, "messages"),
    ({"model": "m", "messages": []}, "messages"),
    ({"model": "m", "messages": "hi"}, "messages"),
    ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
    ({"model": "m", "messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (CHAT | {"model": 5}, "model"),
    (CHAT | {"stream": "yes"}, "stream"),
    (CHAT | {"max_tokens": "many"}, "max_tokens"),
    (CHAT | {"max_tokens": 0}, "max_tokens"),
    (CHAT | {"max_completion_tokens": -1}, "max_completion_tokens"),
    (CHAT | {"temperature": 3}, "temperature"),
    (CHAT | {"n": 0}, "n"),
    (CHAT | {"n": 10**30}, "n"),
    (CHAT | {"top_logprobs": 21}, "top_logprobs"),
    (CHAT | {"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    (CHAT | {"stream_options": {"include_usage": True}}, "stream_options"),
]


@pytest.mark.parametrize(("body", "param"), BAD_BODIES, ids=lambda value: str(value)[:40])
def test_a_wrong_body_is_a_400_that_names_the_field(tmp_path: Path, body: Any, param: str | None) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        reply = await ask(g.port, body=body)
        assert reply.status == 400
        assert reply.error["type"] == "invalid_request_error"
        assert reply.error["param"] == param
        assert engine.bodies == []

    run(tmp_path, scenario)


def test_unknown_models_and_unsupported_endpoints(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        reply = await ask(g.port, body=CHAT | {"model": "gpt-9"})
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")
        reply = await ask(g.port, "/v1/embeddings", {"model": "m", "input": "x"})
        assert (reply.status, reply.error["code"]) == (400, "unsupported_endpoint")

    run(tmp_path, scenario, replica={"capabilities": ("chat",)})


def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        huge = {"model": "m", "messages": [{"role": "user", "content": "word " * 2_000_000}]}
        reply = await ask(g.port, body=huge)
        assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
        assert engine.bodies == []

    run(tmp_path, scenario)


def test_requests_per_minute_are_refused_with_headers_that_say_when(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        replies_ = [await ask(g.port, body=CHAT) for _ in range(4)]
        assert [reply.status for reply in replies_] == [200, 200, 200, 429]
        assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies_[:3]] == ["2", "1", "0"]
        assert replies_[0].headers["x-ratelimit-limit-requests"] == "3"
        refused = replies_[3]
        assert (refused.error["type"], refused.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"].endswith("ms")
        assert len(g.rows()) == 3

    run(tmp_path, scenario, limits=LimitsEntry(requests_per_minute=3))


def test_tokens_are_reserved_on_estimate_and_settled_on_fact(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        first = await ask(g.port, body=CHAT | {"max_tokens": 500})
        assert first.status == 200
        second = await ask(g.port, body=CHAT | {"max_tokens": 1})
        # 10 tokens were really used: had the reservation stayed, these 900 would not fit
        assert int(second.headers["x-ratelimit-remaining-tokens"]) > 900
        third = await ask(g.port, body=CHAT | {"max_tokens": 5000, "n": 120})
        assert (third.status, third.error["code"]) == (429, "request_too_large")
        assert third.headers["x-should-retry"] == "false"

    run(tmp_path, scenario, limits=LimitsEntry(tokens_per_minute=1000))


def test_concurrency_is_freed_when_requests_end(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        for _round in range(3):
            statuses = [
                r.status for r in await asyncio.gather(*(ask(g.port, body=CHAT | {"stream": True}) for _ in range(5)))
            ]
            assert sorted(statuses) == [200, 200, 429, 429, 429]

    slow = streams(*[event("x")] * 5, b"data: [DONE]\n\n", pause_s=0.02)
    run(tmp_path, scenario, slow, limits=LimitsEntry(concurrency=2))


def test_a_spent_budget_is_insufficient_quota(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        assert (await ask(g.port, body=CHAT)).status == 200
        reply = await ask(g.port, body=CHAT)
        assert (reply.status, reply.error["code"]) == (429, "insufficient_quota")
        assert reply.headers["x-should-retry"] == "false"

    run(tmp_path, scenario, limits=LimitsEntry(monthly_budget_pico=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-roadbed-priority", "0"), ("x-roadbed-priority", "ten"), ("x-slo-ttft-ms", "soon"), ("x-slo-tpot-ms", "-1")],
)
def test_wrong_routing_headers_are_refused(tmp_path: Path, name: str, value: str) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        reply = await ask(g.port, body=CHAT, headers={name: value})
        assert (reply.status, reply.error["code"]) == (400, "invalid_header")
        assert name in reply.error["message"]
        assert g.rows() == []

    run(tmp_path, scenario, limits=LimitsEntry(concurrency=1))


def test_refused_headers_hold_no_reservation(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        for _round in range(3):
            assert (await ask(g.port, body=CHAT, headers={"x-roadbed-priority": "0"})).status == 400
        assert (await ask(g.port, body=CHAT)).status == 200

    run(tmp_path, scenario, limits=LimitsEntry(concurrency=1))


def test_tokenize_asks_a_replica(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        reply = await ask(g.port, "/tokenize", {"model": "m", "prompt": "a b c"})
        assert reply.json() == {"model": "m", "count": 3, "tokens": [1, 2, 3]}
        assert engine.bodies[0]["content"] == "a b c"
        assert (await ask(g.port, "/tokenize", {"model": "m"})).error["param"] == "prompt"
        assert (await ask(g.port, "/tokenize", b"{")).status == 400

    run(tmp_path, scenario, replies({"tokens": [1, 2, 3]}))


def test_a_new_snapshot_adds_and_drains_replicas(tmp_path: Path) -> None:
    async def body() -> None:
        one, two = await Engine(replies()).start(), await Engine(replies()).start()
        async with gateway(tmp_path, snapshot([one.port])) as g:
            assert (await ask(g.port, body=CHAT)).headers["x-roadbed-replica"] == "m-0"
            both = snapshot([one.port, two.port])
            service = both.services[0]
            drained = msgspec.structs.replace(service.replicas[0], draining=True)
            service = msgspec.structs.replace(service, replicas=(drained, service.replicas[1]))
            g.publish(msgspec.structs.replace(both, services=(service,)))
            await until(lambda: g.worker.plane.tables.version == 2)
            for _ in range(4):
                assert (await ask(g.port, body=CHAT)).headers["x-roadbed-replica"] == "m-1"
        await one.stop()
        await two.stop()

    asyncio.run(body())


def test_a_broken_snapshot_file_changes_nothing(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        g.home.snapshot.write_bytes(b"{ not json")
        await asyncio.sleep(0.15)
        assert (await ask(g.port, body=CHAT)).status == 200

    run(tmp_path, scenario)


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        await ask(g.port, body=CHAT)
        await ask(g.port, body=CHAT | {"model": "nope"})
        text = (await ask(g.port, "/metrics", method="GET", key=None)).body.decode()
        assert 'roadbed_requests_total{service="m",endpoint="chat",status="200"} 1' in text
        assert 'roadbed_requests_total{service="",endpoint="chat",status="404"} 1' in text
        assert 'roadbed_outcomes_total{service="m",outcome="ok"} 1' in text
        assert 'roadbed_tokens_total{service="m",kind="completion"} 3' in text

    run(tmp_path, scenario)


def test_drain_lets_streams_finish_and_refuses_new_connections(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        streaming = asyncio.ensure_future(ask(g.port, body=CHAT | {"stream": True}))
        await until(lambda: engine.bodies)
        g.worker.stop()
        reply: Response = await streaming
        assert reply.body.endswith(b"data: [DONE]\n\n")
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", g.port)

    slow = streams(*[event("x")] * 10, b"data: [DONE]\n\n", pause_s=0.03)
    run(tmp_path, scenario, slow)


def test_snapshot_round_trips() -> None:
    first = snapshot([1, 2], limits=LimitsEntry(concurrency=3))
    assert msgspec.json.decode(msgspec.json.encode(first), type=Snapshot) == first
    assert json.loads(msgspec.json.encode(first))["version"] == 1


def test_tools_are_refused_where_the_template_knows_none(tmp_path: Path) -> None:
    body = CHAT | {"tools": [{"type": "function", "function": {"name": "f"}}]}

    async def without(g: Gateway, engine: Engine) -> None:
        reply = await ask(g.port, body=body)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "tools_unsupported", "tools")
        assert (await ask(g.port, body=CHAT | {"tools": []})).status == 200
        assert (await ask(g.port, body=CHAT | {"tools": None})).status == 200
        assert len(engine.bodies) == 2

    async def with_tools(g: Gateway, _: Engine) -> None:
        assert (await ask(g.port, body=body)).status == 200

    run(tmp_path / "without", without)
    run(tmp_path / "with", with_tools, replica={"capabilities": ("chat", "tools")})


@pytest.mark.parametrize(
    ("headers", "tier", "default", "level"),
    [
        ({}, None, 5, 5),
        ({}, None, 9, 1),
        ({b"x-roadbed-priority": b"9"}, None, 5, 1),
        ({b"x-roadbed-priority": b"1"}, "priority", 5, 9),
        ({}, "priority", 5, 3),
        ({}, "flex", 5, 7),
        ({}, "flex", 1, 9),
        ({}, "auto", 5, 5),
    ],
)
def test_nine_goes_first(headers: dict[bytes, bytes], tier: str | None, default: int, level: int) -> None:
    """People write 9 for first, as in every spec; the router counts levels from 1."""
    raw = msgspec.Raw(b"[]")
    assert plane._priority(headers, Parsed("m", raw, raw, service_tier=tier), default) == level


ADAPTED = {"adapters": ("law", "art"), "policy": "roadbed"}


def test_an_adapter_is_a_model_of_its_own_with_a_parent(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        listed = (await ask(g.port, "/v1/models", method="GET")).json()["data"]
        assert [(one["id"], one.get("parent")) for one in listed] == [
            ("m", None), ("m-alias", None), ("law", "m"), ("art", "m"),
        ]  # fmt: skip
        assert (await ask(g.port, "/v1/models/art", method="GET")).json()["parent"] == "m"
        for model in ("art", "m-alias"):
            assert (await ask(g.port, body=CHAT | {"model": model})).status == 200
        assert [body["model"] for body in engine.bodies] == ["art", "m-alias"]
        assert not any("lora" in body for body in engine.bodies)
        assert [row.model for row in g.rows()] == ["art", "m"]
        (replica,) = g.worker.plane.tables.services["m"].router.replicas
        assert replica.adapters is not None
        assert (replica.adapters.loaded, replica.adapters.num_busy) == (["art"], 0)

    run(tmp_path, scenario, **ADAPTED)


def test_an_engine_that_knows_adapters_by_number_is_told_it(tmp_path: Path) -> None:
    async def scenario(g: Gateway, engine: Engine) -> None:
        for model in ("art", "m", "law"):
            assert (await ask(g.port, body=CHAT | {"model": model})).status == 200
        assert [body.get("lora") for body in engine.bodies] == [
            [{"id": 1, "scale": 1.0}],
            None,
            [{"id": 0, "scale": 1.0}],
        ]

    run(tmp_path, scenario, replica={"capabilities": ("chat", "lora_by_id")}, **ADAPTED)


def test_prompts_of_adapters_share_no_prefix(tmp_path: Path) -> None:
    async def scenario(g: Gateway, _: Engine) -> None:
        long = [{"role": "user", "content": "word " * 400}]
        for model in ("law", "m"):
            await ask(g.port, body=CHAT | {"model": model, "messages": long})
        router = g.worker.plane.tables.services["m"].router
        once = router.num_prefix_blocks
        await ask(g.port, body=CHAT | {"model": "m", "messages": long})
        assert router.num_prefix_blocks == once
        assert once >= 2 * (2000 // 256)

    run(tmp_path, scenario, **ADAPTED)
