import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine import create
from roadbed.engine.base import Endpoint, LaunchRequest
from roadbed.engine.openai import parse_url
from roadbed.errors import EngineError, UnreachableError, UsageError
from roadbed.spec.service import OpenAIEngine
from tests.engine.conftest import reply, serve
from tests.engine.test_vllm_metrics import PAGE

URL = "http://127.0.0.1:1"
MODELS = reply('{"data":[{"id":"qwen-plus"},{"id":"qwen-max"}]}')


def test_nothing_to_run_and_one_endpoint_per_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "k-1")
    adapter = create(OpenAIEngine(urls=["https://a.example/compatible-mode", URL], api_key_env="THEIR_KEY"))
    request = LaunchRequest(replica="r", served_model="m", model_path="", port=0, threads=1, memory_bytes=0)
    assert adapter.process(request) is None
    assert adapter.endpoint(0, 0) == Endpoint(
        host="a.example", port=443, tls=True, base_path="/compatible-mode", api_key="k-1"
    )
    assert adapter.endpoint(1, 0).port == 1


def test_a_key_that_is_not_set_is_an_error_naming_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THEIR_KEY", raising=False)
    with pytest.raises(EngineError, match="THEIR_KEY"):
        create(OpenAIEngine(urls=[URL], api_key_env="THEIR_KEY"))


@pytest.mark.parametrize(
    "url",
    [
        "x",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://u:p@a",
        "http://a?x",
        "http://a/v1",
        "http://a/v1/",
        "http://[::1",
    ],
)
def test_urls_that_will_not_do(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url, None)
    assert caught.value.field == "engine.urls"


@given(st.text(max_size=40))
def test_any_text_is_an_endpoint_or_a_usage_error(text: str) -> None:
    try:
        endpoint = parse_url(text, None)
    except UsageError:
        return
    assert 0 < endpoint.port < 65536


def test_ready_names_the_model() -> None:
    adapter = create(OpenAIEngine(urls=[URL], upstream_model="qwen-max", max_concurrency=7))
    capacity = serve({"/v1/models": MODELS}, adapter.ready)
    assert capacity is not None
    assert capacity.max_concurrency == 7
    missing = create(OpenAIEngine(urls=[URL], upstream_model="qwen-mini"))
    with pytest.raises(EngineError, match="no model 'qwen-mini'; it has qwen-plus, qwen-max"):
        serve({"/v1/models": MODELS}, missing.ready)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply('{"error":{"message":"Incorrect API key"}}', 401), "refuses the key .401.: Incorrect API key"),
        (reply("no", 403), "refuses the key"),
        (reply('{"detail":"Not Found"}', 404), "answered 404: Not Found"),
        (reply("<html>"), "unexpected"),
    ],
)
def test_what_will_never_be_ready_says_why(answer: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        serve({"/v1/models": answer}, create(OpenAIEngine(urls=[URL])).ready)


def test_not_yet_is_none() -> None:
    adapter = create(OpenAIEngine(urls=[URL]))
    assert asyncio.run(adapter.ready(adapter.endpoint(0, 0))) is None
    assert serve({"/v1/models": reply("", 503)}, adapter.ready) is None
    assert serve({"/v1/models": reply("", 429)}, adapter.ready) is None


def test_load_is_vllm_s_or_zero() -> None:
    adapter = create(OpenAIEngine(urls=[URL]))
    assert serve({"/metrics": reply(PAGE)}, adapter.load).num_running == 12
    assert serve({}, adapter.load).num_running == 0
    assert serve({"/metrics": reply("other 1\n")}, adapter.load).num_running == 0
    assert serve({}, adapter.drain) is True
    with pytest.raises(UnreachableError):
        asyncio.run(adapter.load(adapter.endpoint(0, 0)))
