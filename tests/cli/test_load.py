"""Arrivals that can be drawn again, and every way an exchange can end."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.cli.load import Load, Sample, arrivals, prompt, run
from tests.cli.server import DONE, HEADERS, USAGE, chunked, event, reply, serving

WHOLE = chunked(event("a"), event("b"), event(usage=USAGE), DONE, headers=HEADERS)


def load_of(url: str, **fields: object) -> Load:
    defaults: dict[str, object] = {
        "key": "k", "model": "chat", "num_requests": 1, "duration_s": None, "rate": None, "concurrency": 1,
        "prompt_tokens": 8, "output_tokens": 3, "seed": 1,
    }  # fmt: skip
    return Load(url=url, **(defaults | fields))  # type: ignore[arg-type]


@given(st.floats(0.1, 1000), st.integers())
def test_arrivals_are_a_poisson_process_that_can_be_drawn_again(rate: float, seed: int) -> None:
    first = list(itertools.islice(arrivals(rate, seed), 300))
    assert first == list(itertools.islice(arrivals(rate, seed), 300))
    assert first[0] == 0.0
    assert first == sorted(first)
    mean = first[-1] / (len(first) - 1)
    assert 0.6 / rate < mean < 1.6 / rate  # 300 gaps: eight standard deviations either way


@given(st.integers(), st.integers(0, 10_000), st.integers(1, 500))
def test_prompts_are_as_long_as_asked_and_never_alike(seed: int, index: int, num_tokens: int) -> None:
    text = prompt(seed, index, num_tokens)
    assert text == prompt(seed, index, num_tokens)
    assert text != prompt(seed, index + 1, num_tokens)
    assert abs(len(text.split()) - num_tokens) <= 1


def test_a_whole_exchange_is_measured() -> None:
    with serving(WHOLE) as heard:
        load = load_of(heard.url)
        asyncio.run(run(load))
    (sample,) = load.samples
    assert (sample.error, sample.replica, sample.route) == ("", "chat-0", "only_one")
    assert (sample.prompt_tokens, sample.cached_tokens, sample.completion_tokens) == (5, 2, 3)
    assert sample.ttft_s is not None
    assert 0 <= sample.ttft_s <= sample.total_s
    body = heard.bodies()[0]
    assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (3, True, True)


def test_connections_are_used_again() -> None:
    with serving(WHOLE, close=False) as heard:
        load = load_of(heard.url, num_requests=5)
        asyncio.run(run(load))
    assert [sample.error for sample in load.samples] == [""] * 5
    assert len(heard.requests) == 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(json.dumps({"error": {"code": "rate_limit_exceeded"}}).encode(), 429), "rate_limit_exceeded"),
        (reply(b"oops", 502), "502"),
        (chunked(event("a")), "cut_off"),
        (chunked(event("a"), end=False), "IncompleteReadError"),
        (chunked(event("a"), event(error={"code": "engine_error"}), DONE), "engine_error"),
        (chunked(b"data: {nonsense\n\n"), "JSONDecodeError"),
        (b"not http at all\r\n\r\n", "ValueError"),
        (b"", "IncompleteReadError"),
    ],
)
def test_every_failure_has_a_name(answer: bytes, error: str) -> None:
    with serving(answer) as heard:
        load = load_of(heard.url)
        asyncio.run(run(load))
    assert [sample.error for sample in load.samples] == [error]


def test_nobody_listens() -> None:
    with serving(b"") as heard:
        load = load_of(heard.url, num_requests=2)
    asyncio.run(run(load))
    assert [sample.error for sample in load.samples] == ["ConnectionRefusedError"] * 2


def test_open_loop_keeps_its_arrivals() -> None:
    with serving(WHOLE) as heard:
        load = load_of(heard.url, num_requests=6, rate=200.0, concurrency=None)
        asyncio.run(run(load))
    assert load.num_sent == len(load.samples) == 6
    due = sorted(sample.due_s for sample in load.samples)
    gaps = [moment - due[0] for moment in due]
    assert gaps == pytest.approx(list(itertools.islice(arrivals(200.0, 1), 6)))


def test_duration_ends_it() -> None:
    with serving(WHOLE, close=False) as heard:
        load = load_of(heard.url, num_requests=None, duration_s=0.2)
        asyncio.run(run(load))
    assert load.samples
    assert max(sample.due_s for sample in load.samples) - min(sample.due_s for sample in load.samples) < 0.25


def test_cancelling_keeps_what_finished() -> None:
    async def stop_early(load: Load) -> None:
        task = asyncio.create_task(run(load))
        while not load.samples:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with serving(WHOLE, close=False) as heard:
        load = load_of(heard.url, num_requests=100_000)
        asyncio.run(stop_early(load))
    assert 1 <= len(load.samples) < 100_000


def test_tpot_is_of_the_tokens_after_the_first() -> None:
    assert Sample(due_s=0, ttft_s=1.0, total_s=3.0, completion_tokens=5).tpot_s == pytest.approx(0.5)
    assert Sample(due_s=0, ttft_s=1.0, total_s=3.0, completion_tokens=1).tpot_s is None
