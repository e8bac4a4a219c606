import pytest

from roadbed.router.admission import Waiting
from roadbed.router.estimate import ServiceModel
from roadbed.router.live import Live, learn
from roadbed.router.prefix import PrefixIndex
from roadbed.router.replica import Replica
from tests.router.requests import info, request


def lived(
    replica: Replica, *, prompt: int, stream: bool = True, touched: tuple[float, ...] = (), first: float = 0.0
) -> Live:
    waiting = Waiting(features=request("a", prompt=prompt, stream=stream), arrived_at=0.0, deadline=99.0)
    live = Live(waiting, replica, 100.0, prompt, touched)
    live.first_byte_at = first
    return live


@pytest.mark.parametrize("stream", [True, False])
def test_streams_and_whole_answers_both_teach_times(stream: bool) -> None:
    """1 ms per prompt token, 30 ms per output token."""
    replica, service, prefix = Replica(info(0), 0), ServiceModel(), PrefixIndex()
    for index in range(150):
        prompt, output = 100 + 37 * (index % 50), 20 + 7 * (index % 11)
        first, end = 100.0 + 0.001 * prompt, 100.0 + 0.001 * prompt + 0.03 * output
        live = lived(replica, prompt=prompt, stream=stream, first=first if stream else end)
        learn(
            live, replica, service, prefix, end,
            prompt_tokens=prompt, cached_tokens=0, completion_tokens=output + stream,
        )  # fmt: skip
    model = replica.model
    assert model.ttft_s(1000, 0) + 50 * model.step_time_s(1) == pytest.approx(2.5, rel=0.15)
    if stream:
        assert model.prefill_s == pytest.approx(0.001, rel=0.1)
        assert model.step_time_s(0.5) == pytest.approx(0.03, rel=0.1)


def test_waiting_for_a_slot_is_not_mistaken_for_slow_prefill() -> None:
    replica = Replica(info(0, concurrency=1), 0)
    before = replica.model.ttft_s(100, 0)
    live = lived(replica, prompt=100, first=150.0)
    live.num_running = 1
    learn(live, replica, ServiceModel(), PrefixIndex(), 150.0, prompt_tokens=100, cached_tokens=0, completion_tokens=1)
    assert replica.model.ttft_s(100, 0) == before


def cache_case(cached_tokens: int, touched_at: float) -> tuple[Replica, PrefixIndex]:
    """Ten blocks of 64 tokens predicted; an older block lies in the index."""
    prefix = PrefixIndex()
    replica = Replica(info(0), prefix.add_replica(100))
    prefix.insert(replica.bit, [77], 1.0)
    prefix.insert(replica.bit, list(range(10)), touched_at)
    live = lived(replica, prompt=640, touched=tuple(prefix.touched_at(replica.bit, list(range(10)), 10)), first=101.0)
    prefix.insert(replica.bit, list(range(10)), 100.0)
    learn(
        live, replica, ServiceModel(), prefix, 102.0,
        prompt_tokens=640, cached_tokens=cached_tokens, completion_tokens=9,
    )  # fmt: skip
    return replica, prefix


def test_a_cold_engine_is_believed_and_older_blocks_are_dropped() -> None:
    replica, prefix = cache_case(0, touched_at=50.0)
    assert replica.model.trust < 1.0
    assert prefix.match([77])[replica.bit] == 0
    assert prefix.match(list(range(10)))[replica.bit] == 10


def test_a_warm_engine_changes_nothing() -> None:
    replica, prefix = cache_case(620, touched_at=50.0)
    assert replica.model.trust == 1.0
    assert prefix.match([77])[replica.bit] == 1


def test_a_prefix_still_being_computed_is_no_miss() -> None:
    replica, prefix = cache_case(0, touched_at=99.5)
    assert replica.model.trust == 1.0
    assert prefix.match([77])[replica.bit] == 1
