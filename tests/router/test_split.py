import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.router.split import SPLIT_POLICIES, Adaptive, Demand, Meter, Server, SplitPolicy, Targets, create

TARGETS = Targets(2.0, 0.025)


def step(num_streams: int, kv_tokens: int) -> float:
    """5 ms, 0.1 ms per stream and 1 ms per 10,000 cached tokens."""
    return 0.005 + 1e-4 * num_streams + 1e-7 * kv_tokens


def policy(name: str) -> SplitPolicy:
    return create(name, step, TARGETS)


def servers(roles: str, capacity: int = 100_000) -> list[Server]:
    """`ppd` → two prefill servers and a decode server."""
    return [
        Server(slot, "prefill" if role == "p" else "decode", capacity, 64) for slot, role in enumerate(roles)
    ]  # fmt: skip


def busy(server: Server, num_streams: int, kv_tokens: int, left: float = 0.0) -> None:
    server.num_streams, server.kv_tokens = num_streams, kv_tokens
    server.left_tokens = left or 50.0 * num_streams
    server.room_tokens = max(0, server.capacity_tokens - kv_tokens)


CALM = Demand(requests_per_s=10.0, prompt_s=0.05, output_tokens=50.0, context_tokens=1000.0)


def test_static_takes_the_lowest_predicted_step_time_and_never_turns() -> None:
    pool = servers("pdd")
    busy(pool[1], 10, 90_000)
    busy(pool[2], 40, 20_000)
    assert policy("static").place(1000, 100, pool, 0) == 2
    busy(pool[2], 64, 20_000)
    assert policy("static").place(1000, 100, pool, 0) == 1, "the other has no place"
    assert policy("static").place(20_000, 100, pool, 0) == -1
    assert policy("static").turn(pool, Demand(requests_per_s=11.0, prompt_s=9.0, waiting_s=99.0, num_pending=9)) == -1


def test_a_prompt_needs_no_room_where_it_is() -> None:
    pool = servers("dpd")
    busy(pool[0], 1, 99_999)
    busy(pool[2], 1, 99_999)
    assert policy("static").place(5000, 100, pool, 0) == 0
    assert policy("static").place(5000, 100, pool, 1) == -1


def test_llumnix_packs_until_the_target_is_near_then_turns_a_prefill_server() -> None:
    pool = servers("pppdd", 10**6)
    busy(pool[3], 40, 50_000)
    busy(pool[4], 10, 10_000)
    ours = policy("llumnix")
    assert ours.place(1000, 100, pool, 0) == 3, "the fuller one, still within 0.85 of 25 ms"
    busy(pool[3], 60, 150_000)
    busy(pool[4], 60, 150_000)
    pool[1].queued_s, pool[2].queued_s = 2.0, 1.0
    assert ours.place(1000, 100, pool, 0) == 2, "the shortest queue; the first prefill server is reserved"
    pool[1].changing = True
    assert ours.place(1000, 100, pool, 0) == 3, "one is on its way already: the lowest"
    assert policy("llumnix").place(1000, 100, servers("pd", 10), 0) == -1


def test_llumnix_gives_back_what_others_can_hold() -> None:
    pool = servers("pddd", 10**6)
    busy(pool[1], 10, 1000)
    busy(pool[2], 5, 1000)
    busy(pool[3], 60, 160_000)
    ours = policy("llumnix")
    assert ours.turn(pool, CALM) == 2
    assert ours.turn(pool, Demand(requests_per_s=10.0, prompt_s=0.05, num_pending=1)) == -1, (
        "somebody waits for a decode server"
    )
    pool[2].changing = True
    assert ours.turn(pool, CALM) == -1, "the rest is too full to take more in, and the first is reserved"


def test_adaptive_places_where_it_costs_everybody_least() -> None:
    pool = servers("pdd", 10**6)
    busy(pool[1], 10, 20_000, left=10.0)
    busy(pool[2], 9, 20_000, left=5000.0)
    ours = policy("adaptive")
    assert ours.place(50_000, 10, pool, 0) == 1, "one stream more, but hardly anything left to slow down"
    busy(pool[1], 40, 170_000, left=10.0)
    busy(pool[2], 9, 20_000, left=600.0)
    assert ours.place(50_000, 100, pool, 0) == 2, "it would miss its target"


def test_adaptive_turns_a_decode_server_when_prompts_pile_up_and_back_when_tokens_slow() -> None:
    pool = servers("pddd", 10**6)
    for server in pool[1:]:
        busy(server, 4, 10_000)
    busy(pool[2], 1, 2_000)
    ours = policy("adaptive")
    prompts = Demand(requests_per_s=7.5, prompt_s=0.2, waiting_s=3.0)
    assert ours.turn(pool, prompts) == -1, "one look proves nothing"
    assert ours.turn(pool, prompts) == 2, "the one with the least left to do"
    pool = servers("pppd", 10**6)
    busy(pool[3], 60, 250_000)
    pool[1].queued_s = 0.1
    ours = policy("adaptive")
    answers = [ours.turn(pool, CALM) for _ in range(4)]
    assert answers[0] == -1
    assert 0 in answers, "the prefill server with the shortest queue"
    assert 3 not in answers


def test_adaptive_leaves_alone_what_works_and_what_is_under_way() -> None:
    pool = servers("ppdd", 10**6)
    busy(pool[2], 10, 20_000)
    ours = policy("adaptive")
    assert all(ours.turn(pool, CALM) == -1 for _ in range(20))
    pool[3].changing = True
    assert all(ours.turn(pool, Demand(requests_per_s=1.0, prompt_s=9.0, waiting_s=99.0)) == -1 for _ in range(5))


SERVERS = st.lists(
    st.tuples(
        st.sampled_from("pd"), st.booleans(), st.integers(0, 64), st.integers(0, 100_000), st.floats(0, 50),
        st.integers(0, 100_000),
    ),
    max_size=8,
).map(lambda rows: [("p", False, 0, 0, 0.0, 100_000), ("d", False, 0, 0, 0.0, 100_000), *rows])  # fmt: skip
FIELDS = (
    "requests_per_s", "prompt_s", "spread_s", "transfer_s", "context_tokens", "output_tokens",
    "waiting_s",
)  # fmt: skip
DEMANDS = st.lists(
    st.tuples(st.tuples(*(st.floats(0, 100) for _ in FIELDS)), st.integers(0, 20)), min_size=1, max_size=8
)


@given(st.sampled_from(sorted(SPLIT_POLICIES)), SERVERS, DEMANDS, st.integers(1, 120_000), st.integers(0, 9))
def test_whoever_is_named_can_take_it_and_no_role_dies_out(name, rows, demands, prompt, source) -> None:
    pool = []
    for slot, (role, changing, streams, kv, queued_s, room) in enumerate(rows):
        one = Server(slot, "prefill" if role == "p" else "decode", 100_000, 64)
        one.changing, one.num_streams, one.kv_tokens, one.queued_s, one.room_tokens = (
            changing,
            streams,
            kv,
            queued_s,
            room,
        )
        one.left_tokens = 50.0 * streams
        pool.append(one)
    ours = policy(name)
    for numbers, num_pending in demands:
        demand = Demand(**dict(zip(FIELDS, numbers, strict=True)), num_pending=num_pending)
        turned = ours.turn(pool, demand)
        assert -1 <= turned < len(pool)
        if turned >= 0:
            one = pool[turned]
            assert not one.changing
            one.role = "decode" if one.role == "prefill" else "prefill"
            assert {other.role for other in pool} == {"prefill", "decode"}
        placed = ours.place(prompt, 100, pool, source)
        if placed >= 0:
            one = pool[placed]
            assert one.has_room(prompt, source)
            if one.role == "prefill":
                one.role = "decode"
                assert any(other.role == "prefill" for other in pool)


def test_adaptive_counts_the_streams_that_more_prompts_will_bring() -> None:
    ours = Adaptive(step, TARGETS)
    pool = servers("pppd", 10**6)
    busy(pool[3], 5, 20_000)
    held_back = Demand(requests_per_s=20.0, prompt_s=0.1, output_tokens=200.0, context_tokens=4000.0)
    assert ours.pressure(3, pool, held_back, 0.0) > 1.0, "twenty answers a second are too many for one server"
    assert ours.pressure(2, pool, held_back, 0.0) < ours.pressure(3, pool, held_back, 0.0)
    assert ours.pressure(1, pool, held_back, 0.0) > 1.0, "two seconds of prompts arrive per second"
    assert ours.pressure(2, pool, held_back, 40.0) > 3.0, "forty seconds of prompts are queued"


def test_a_link_can_be_what_is_too_narrow() -> None:
    ours = Adaptive(step, TARGETS)
    pool = servers("pppd", 10**6)
    wide = Demand(requests_per_s=9.0, prompt_s=0.1, transfer_s=0.01, output_tokens=20.0, context_tokens=4000.0)
    narrow = Demand(requests_per_s=9.0, prompt_s=0.1, transfer_s=0.11, output_tokens=20.0, context_tokens=4000.0)
    assert ours.pressure(3, pool, wide, 0.0) < 0.5
    assert ours.pressure(3, pool, narrow, 0.0) > 1.0
    assert ours.pressure(2, pool, narrow, 0.0) < 0.7


def test_the_meter_counts_what_has_to_be_computed() -> None:
    meter = Meter()
    meter.computed(400)
    meter.computed(600)
    assert meter.output_tokens == 128.0
    meter.answered(1000, 20)
    meter.answered(5000, 10)
    meter.sent(0.25)
    for _ in range(10):
        meter.arrived()
    demand = meter.look(2.0, 0.01, 1e-4, 3, 1)
    assert demand.requests_per_s == pytest.approx(5.0)
    assert demand.prompt_s == pytest.approx(0.06)
    assert demand.spread_s == pytest.approx(0.01)
    assert demand.waiting_s == pytest.approx(0.18)
    assert (demand.transfer_s, demand.output_tokens, demand.num_pending) == (0.25, 15.0, 1)
    assert demand.context_tokens == pytest.approx((20 * 1010 + 10 * 5005) / 30), "longer answers count more"
    assert meter.look(4.0, 0.01, 1e-4, 0, 0).requests_per_s == pytest.approx(2.5)


def test_unknown_policies_are_named() -> None:
    with pytest.raises(UsageError, match="static, llumnix, adaptive"):
        policy("magic")
