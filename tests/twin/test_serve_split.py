import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.profiles.model import Curve, StepModel, StepTimer, line
from roadbed.twin.serve import Settings
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_split import Split, SplitWorld
from roadbed.twin.serve_trace import Trace

MODEL = StepModel(
    fixed_s=0.001, dense=line(1e-4), chunk=line(1e-5), context=Curve((0.0,), (1e-6,)), decode_base=line(1e-5, 1e-3),
    decode_kv=Curve((0.0,), (1e-6,)),
)  # fmt: skip
LIMITS = Limits(kv_blocks=64, block_tokens=4, max_batched_tokens=64, max_seqs=8)


def trace_of(rows: list[tuple[float, int, int, int]]) -> Trace:
    """(arrival, prompt, output, family of prefixes)."""
    trace = Trace("made", 4, synthetic=True)
    for number, (arrival_s, prompt, output, family) in enumerate(sorted(rows)):
        chain = [(family if family >= 0 else 100 + number) * 1000 + at for at in range(prompt // 4)]
        trace.add(arrival_s, prompt, output, chain)
    return trace.in_order()


def world(rows, num: int = 3, limits: Limits = LIMITS, **split) -> SplitWorld:
    policy = split.pop("router", "roadbed")
    return SplitWorld(
        trace_of(rows), StepTimer(MODEL), limits, num, Settings(policy=policy, slo_ttft_s=0.5, slo_itl_s=0.01),
        Split(kv_bytes=1000, **split),
    )  # fmt: skip


def check_over(done: SplitWorld, num: int) -> None:
    """Everybody ended once (Outcomes refuses twice), and nothing is left anywhere."""
    outcomes = done.outcomes
    assert sum(1 for end_s in outcomes.end_s if end_s == end_s) + sum(outcomes.reasons.values()) == num
    for engine in done.engines:
        assert engine.cache.num_private == 0
        assert not engine.cache.shared
        assert engine.num_running == engine.num_waiting == engine.num_coming == 0
    assert done.core.num_live == done.core.num_waiting == 0
    assert done.links.num_moving == 0


def test_one_request_pays_prefill_transfer_and_decode() -> None:
    ran = world([(0.0, 40, 3, -1)], num=2, link_bytes_s=1e6)
    outcomes = ran.run()
    check_over(ran, 1)
    prefill_s = StepTimer(MODEL).mixed([(40, 0)], 1, 0, 0)
    fixed_s, per_kv_s = StepTimer(MODEL).decode(1)
    steps = [fixed_s + per_kv_s * kv for kv in (41, 42, 43)]
    assert ran.links.moved_bytes == 40_000
    assert outcomes.ttft_s[0] == pytest.approx(prefill_s + 0.04 + steps[0], rel=1e-6)
    assert outcomes.e2e_s[0] == pytest.approx(prefill_s + 0.04 + sum(steps), rel=1e-6)


def test_the_prefill_server_may_give_the_first_token() -> None:
    ran = world([(0.0, 40, 3, -1), (1.0, 40, 1, -1)], num=2, link_bytes_s=1e6, first_token="prefill")
    outcomes = ran.run()
    check_over(ran, 2)
    prefill_s = StepTimer(MODEL).mixed([(40, 0)], 1, 0, 0)
    assert outcomes.ttft_s[0] == pytest.approx(prefill_s, rel=1e-6)
    assert outcomes.e2e_s[0] > prefill_s + 0.04
    assert outcomes.e2e_s[1] == outcomes.ttft_s[1] == pytest.approx(prefill_s, rel=1e-6)
    assert ran.links.moved_bytes == 40_000, "an answer of one token has nothing to move"


def test_prefixes_are_found_where_prompts_are_computed_and_do_not_travel_twice() -> None:
    ran = world([(float(at), 40, 5, 7) for at in range(6)], num=2)
    outcomes = ran.run()
    check_over(ran, 6)
    assert list(outcomes.cached_tokens) == [0, 36, 36, 36, 36, 36]
    assert ran.links.moved_bytes == 40_000


def test_a_full_decode_server_stops_the_prefill_server_and_nothing_is_lost() -> None:
    rows = [(0.001 * at, 60, 60, -1) for at in range(30)]
    ran = world(rows, num=2, limits=Limits(kv_blocks=48, block_tokens=4, max_batched_tokens=64, max_seqs=8))
    ran.run()
    check_over(ran, 30)
    assert max(ran.waited_s) > 0.1, "caches waited for room"


def test_what_never_fits_is_shed() -> None:
    ran = world([(0.0, 300, 10, -1), (0.0, 10, 10, -1)])
    ran.run()
    check_over(ran, 2)
    assert ran.outcomes.reasons == {"too_long": 1}


def burst() -> list[tuple[float, int, int, int]]:
    """Five seconds of more prompts than one server can compute, then long answers."""
    prompts = [(0.01 * at, 120, 4, -1) for at in range(500)]
    return prompts + [(5.0 + 0.05 * at, 4, 80, -1) for at in range(100)]


@pytest.mark.parametrize("change_s", [0.0, 0.5])
def test_adaptive_follows_the_load_and_a_change_may_cost_time(change_s: float) -> None:
    roomy = Limits(kv_blocks=640, block_tokens=4, max_batched_tokens=128, max_seqs=32)
    ran = world(burst(), num=4, limits=roomy, policy="adaptive", num_prefill=1, role_change_s=change_s)
    outcomes = ran.run()
    check_over(ran, 600)
    assert ran.num_changes >= 1
    still = world(burst(), num=4, limits=roomy, policy="static", num_prefill=1)
    assert sum(outcomes.ttft_s) < 0.7 * sum(still.run().ttft_s)


REQUESTS = st.lists(
    st.tuples(st.floats(0, 1.0), st.integers(1, 100), st.integers(1, 40), st.integers(-1, 2)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(
    REQUESTS, st.integers(2, 5), st.sampled_from(["static", "llumnix", "adaptive"]), st.integers(1, 4),
    st.sampled_from([0.0, 0.3]), st.sampled_from(["decode", "prefill"]), st.sampled_from([1e5, 1e9]),
    st.sampled_from(["roadbed", "round_robin"]), st.integers(36, 80),
)  # fmt: skip
def test_everybody_ends_once_and_both_roles_are_always_there(
    rows, num, policy, num_prefill, change_s, first, link, router, kv_blocks
) -> None:
    limits = Limits(kv_blocks=kv_blocks, block_tokens=4, max_batched_tokens=64, max_seqs=8)
    ran = world(
        rows, num=num, limits=limits, policy=policy, num_prefill=min(num_prefill, num - 1), role_change_s=change_s,
        first_token=first, link_bytes_s=link, router=router,
    )  # fmt: skip

    def look() -> None:
        assert {"prefill", "decode"} == set(ran.roles)
        for engine in ran.engines:
            cache = engine.cache
            assert cache.num_private + len(cache.shared) + len(cache.idle) <= cache.capacity
            assert min(cache.num_private, engine.num_coming) >= 0
            assert engine.num_running + engine.num_coming <= limits.max_seqs
        if not ran.is_over:
            ran.kernel.after(0.01, look, priority=9)

    ran.kernel.at(0.0, look)
    ran.run()
    check_over(ran, len(rows))


@pytest.mark.parametrize("policy", ["static", "adaptive"])
def test_adapters_are_loaded_on_both_sides(policy: str) -> None:
    trace = trace_of([(0.05 * at, 40, 10, at % 3) for at in range(60)])
    trace.adapter = [("", "law", "art", "sea")[at % 4] for at in range(60)]
    limits = Limits(
        kv_blocks=64, block_tokens=4, max_batched_tokens=64, max_seqs=8, max_adapters=1, adapter_load_s=0.05
    )
    ran = SplitWorld(trace, StepTimer(MODEL), limits, 3, Settings(policy="roadbed"), Split(policy=policy))
    ran.run()
    check_over(ran, 60)
    assert all(engine.adapters.num_busy == 0 for engine in ran.engines)
    assert ran.engines[0].adapters.loaded
    assert any(engine.adapters.loaded for engine in ran.engines[1:])


def test_the_same_seed_gives_the_same_run() -> None:
    first = world(burst(), num=4, policy="adaptive").run()
    second = world(burst(), num=4, policy="adaptive").run()
    assert list(first.end_s) == list(second.end_s)


@pytest.mark.parametrize(("num", "num_prefill"), [(1, 1), (2, 2), (3, 0)])
def test_each_role_needs_a_server(num: int, num_prefill: int) -> None:
    with pytest.raises(UsageError, match="each role") as caught:
        world([(0.0, 1, 1, -1)], num=num, num_prefill=num_prefill)
    assert caught.value.field == "split"
