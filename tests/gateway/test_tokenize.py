"""POST /tokenize: asked of a replica, answered in one shape, refused like everything else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.rig import Engine, Response, ask, gateway, plain, replies, request_bytes, snapshot, until

TEXT = {"model": "m", "prompt": "a b c"}


def tokenize(
    tmp_path: Path, body: Any, answer: Any = None, num_engines: int = 1, **options: Any
) -> tuple[Response, Any]:
    """(reply, what the engine was asked)."""

    async def scenario() -> tuple[Response, Any]:
        engine = await Engine(answer or replies({"tokens": [1, 2, 3]})).start()
        async with gateway(tmp_path, snapshot([engine.port] * num_engines, **options)) as g:
            reply = await ask(g.port, "/tokenize", body)
            assert g.rows() == [], "it is not billed"
        await engine.stop()
        return reply, engine.bodies

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", ["prompt", "content"])
def test_both_names_of_the_text_are_understood(tmp_path: Path, name: str) -> None:
    reply, asked = tokenize(tmp_path, {"model": "m-alias", name: "a b c", "add_special_tokens": False})
    assert (reply.status, reply.json()) == (200, {"model": "m-alias", "count": 3, "tokens": [1, 2, 3]})
    [question] = asked
    assert question["content"] == question["prompt"] == "a b c"
    assert question["add_special"] is question["add_special_tokens"] is False


def test_the_engine_is_asked_by_the_name_it_knows(tmp_path: Path) -> None:
    replica = {"capabilities": ("tokenize",), "upstream_model": "theirs"}
    reply, [question] = tokenize(tmp_path, TEXT, replica=replica)
    assert (question["model"], reply.json()["model"]) == ("theirs", "m")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "m"}, 400, "missing_required_parameter"), ({"prompt": "x"}, 400, "invalid_value"),
        ({"model": "m", "prompt": 5}, 400, "invalid_value"), (b"\xff", 400, "invalid_value"), (b"", 400, "invalid_value"),
        ({"model": "nope", "prompt": "x"}, 404, "model_not_found"),
    ],
)  # fmt: skip
def test_wrong_questions_are_refused(tmp_path: Path, body: Any, status: int, code: str) -> None:
    reply, asked = tokenize(tmp_path, body)
    assert (reply.status, reply.error["code"], asked) == (status, code, [])


def test_a_model_that_cannot_is_400_and_one_without_replicas_503(tmp_path: Path) -> None:
    reply, _ = tokenize(tmp_path / "cannot", TEXT, replica={"capabilities": ("chat",)})
    assert (reply.status, reply.error["code"]) == (400, "unsupported_endpoint")
    reply, _ = tokenize(tmp_path / "none", TEXT, num_engines=0)
    assert (reply.status, reply.error["code"]) == (503, "no_replica")
    assert "retry-after" in reply.headers


@pytest.mark.parametrize("body", [{"tokens": None}, {}, {"tokens": ["a"]}, [1], b"x"])
def test_an_answer_without_tokens_is_the_engines_error(tmp_path: Path, body: Any) -> None:
    reply, _ = tokenize(tmp_path, TEXT, replies(body))
    assert (reply.status, reply.error["code"]) == (502, "engine_error")


def test_an_engines_refusal_is_passed_on_in_openais_shape(tmp_path: Path) -> None:
    reply, _ = tokenize(tmp_path, TEXT, replies({"error": {"code": 400, "message": "too long"}}, 400))
    assert (reply.status, reply.error["message"]) == (400, "too long")


def test_a_replica_that_breaks_is_502(tmp_path: Path) -> None:
    async def breaks(_: Engine, __: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(200, {"tokens": [1, 2, 3]})[:-4])
        writer.transport.abort()

    reply, _ = tokenize(tmp_path, TEXT, breaks)
    assert (reply.status, reply.error["code"]) == (502, "engine_error")


def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def never(_: Engine, __: Any, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        engine = await Engine(never).start()
        async with gateway(tmp_path, snapshot([engine.port])) as g:
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request_bytes("/tokenize", TEXT))
            await until(lambda: engine.bodies)
            writer.close()
            await until(lambda: engine.num_gone == 1)
        await engine.stop()

    asyncio.run(scenario())
