"""The world: what the router hears, what comes out, and that one run is a function of its inputs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.profiles.model import Curve, StepModel, StepTimer, line
from roadbed.profiles.profile import load
from roadbed.router.policies import POLICIES
from roadbed.twin.serve import BlockMap, Server, Settings, World, idle_ttft_s
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_figures import Outcomes, Row, row
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_synthetic import Recipe, generate
from roadbed.twin.serve_trace import Trace

MODEL = StepModel(fixed_s=0.002, dense=line(5e-5), decode_kv=Curve((0.0,), (1e-7,)))
LIMITS = Limits(kv_blocks=400, block_tokens=64, max_batched_tokens=1024, max_seqs=32)
DATA = Path(__file__).parents[1] / "data"


def stream(**values: float) -> Trace:
    return generate(Recipe(**{"rate": 6.0, "seconds": 30.0, "prompt": 800.0, "output": 60.0, "share": 0.4, **values}))


def run(
    trace: Trace, policy: str = "roadbed", replicas: int = 3, limits: Limits = LIMITS, **settings: object
) -> Outcomes:
    world = World(trace, [Server(step=MODEL, limits=limits)] * replicas, Settings(policy=policy, **settings))
    outcomes = world.run()
    assert world.core.num_live == 0  # every dispatch was released
    assert world.core.num_waiting == 0
    return outcomes


def figures(outcomes: Outcomes) -> Row:
    return row(outcomes, router="x", replicas=3, speedup=1, kv_blocks=400, wall_s=0.0)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_router_serves_everyone(policy: str) -> None:
    trace = stream()
    found = figures(run(trace, policy))
    assert found.shed == 0
    assert found.requests == len(trace)
    assert found.goodput_share == 1.0
    assert found.output_tokens_per_s * found.makespan_s == pytest.approx(sum(trace.output_tokens))
    assert 0 < found.ttft_s.mean < 5


def test_the_same_seed_is_the_same_run() -> None:
    trace = stream(turns=3)
    one, two = (run(trace, "power_of_two", seed=3) for _ in range(2))
    assert one.e2e_s == two.e2e_s
    assert one.slots == two.slots
    assert run(trace, "power_of_two", seed=4).slots != one.slots


def test_faster_arrivals_wait_longer() -> None:
    trace = stream()
    slow, fast = (figures(run(trace, "round_robin", speedup=pace)) for pace in (1.0, 4.0))
    assert fast.ttft_s.mean > slow.ttft_s.mean
    assert fast.makespan_s < slow.makespan_s


def test_no_load_is_an_idle_engine() -> None:
    trace = Trace("t")
    for at in range(5):
        trace.add(at * 100.0, 3000, 10)
    outcomes = run(trace, "round_robin")
    assert list(outcomes.ttft_s) == pytest.approx([idle_ttft_s(MODEL, LIMITS, 3000)] * 5)
    timer = StepTimer(MODEL)
    steps = [timer.decode(1)[0] + timer.decode(1)[1] * (3000 + at) for at in range(1, 10)]
    assert outcomes.itl_s[0] == pytest.approx(np.mean(steps))


def test_affinity_finds_what_round_robin_recomputes() -> None:
    trace = stream(turns=4, rate=1.0)
    assert figures(run(trace, "roadbed")).reuse > figures(run(trace, "round_robin")).reuse + 0.1


def test_too_long_is_shed_and_counted() -> None:
    trace = Trace("t")
    trace.add(0.0, 100, 10)
    trace.add(1.0, 400 * 64, 1)
    outcomes = run(trace)
    assert dict(outcomes.reasons) == {"too_long": 1}


def test_a_full_gateway_sheds_and_clients_come_back() -> None:
    trace = stream(rate=60.0, seconds=10.0)
    shed = figures(run(trace, "roadbed", replicas=1, max_queue=4, max_wait_s=5.0))
    assert shed.shed > 0
    assert set(shed.shed_reasons) <= {"queue_full", "deadline", "displaced"}
    back = figures(run(trace, "roadbed", replicas=1, max_queue=4, max_wait_s=5.0, retries=50))
    assert back.shed < shed.shed


def test_open_and_gate() -> None:
    trace = stream(rate=60.0, seconds=10.0)
    assert figures(run(trace, "roadbed+open", replicas=1, max_queue=4)).shed == 0
    assert figures(run(trace, "round_robin+gate", replicas=1, max_queue=4)).shed > 0
    assert figures(run(trace, "round_robin", replicas=1, max_queue=4)).shed == 0


def test_replicas_may_differ() -> None:
    small = Limits(kv_blocks=20, block_tokens=64, max_batched_tokens=1024, max_seqs=4)
    trace = Trace("t")
    for at in range(20):
        trace.add(at * 0.5, 1000 + 100 * at, 10)
    servers = [Server(step=MODEL, limits=LIMITS), Server(step=MODEL, limits=small)]
    outcomes = World(trace, servers, Settings(policy="round_robin")).run()
    assert not outcomes.reasons
    assert {outcomes.slots[at] for at in range(10, 20)} == {0}  # only there they fit


def test_samples_follow_the_run() -> None:
    outcomes = run(stream(), samples=True)
    assert outcomes.samples[0].at_s == 0
    assert len(outcomes.samples) > 100
    assert all(len(sample.kv_usage) == 3 for sample in outcomes.samples)
    assert max(max(sample.running) for sample in outcomes.samples) > 1


def test_a_router_hears_what_engines_evict() -> None:
    trace = stream(turns=4, rate=2.0)
    tight = Limits(kv_blocks=120, block_tokens=64, max_batched_tokens=1024, max_seqs=32)
    heard = run(trace, "roadbed", limits=tight, cache_news=True)
    unheard = run(trace, "roadbed", limits=tight, cache_news=False)
    assert heard.slots != unheard.slots


def test_unknown_router() -> None:
    with pytest.raises(UsageError, match="nobody"):
        run(stream(), "nobody")


@given(st.sampled_from([(512, 16), (512, 512), (16, 64), (16, 16)]), st.integers(0, 40))
def test_blocks_of_another_size_name_the_same_prefixes(sizes: tuple[int, int], num: int) -> None:
    trace_tokens, engine_tokens = sizes
    blocks = list(range(100, 100 + num))
    mapped = BlockMap(trace_tokens, engine_tokens)
    made = mapped.to_engine(blocks)
    assert len(made) == num * trace_tokens // engine_tokens
    assert len(set(made)) == len(made)
    assert set(mapped.to_trace(made)) <= set(blocks)
    assert (
        list(mapped.to_engine(blocks[: num // 2]))[: len(made) // 3]
        == list(made)[: len(made) // 3][: len(mapped.to_engine(blocks[: num // 2]))]
    )


def test_blocks_that_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="can't be made"):
        BlockMap(512, 96)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["roadbed", "round_robin", "smg_cache_aware"]), st.integers(1, 4))
def test_nobody_is_lost(seed: int, policy: str, replicas: int) -> None:
    trace = stream(seed=seed, turns=2, rate=5.0, seconds=10.0)
    tight = Limits(kv_blocks=150, block_tokens=64, max_batched_tokens=256, max_seqs=8)
    outcomes = run(trace, policy, replicas, tight, max_queue=3, max_wait_s=2.0)
    ended = sum(1 for value in outcomes.e2e_s if value == value)
    assert ended + sum(outcomes.reasons.values()) == len(trace)


def test_the_published_trace_on_the_published_engine() -> None:
    """The first minute of Mooncake's trace under round robin: as many tokens as it has, and TTFT of the right size."""
    trace = read_trace(DATA / "mooncake_synthetic.jsonl")
    variant = load("h200-llama-3.1-8b-fp8").variant()
    server = Server(step=variant.step, limits=Limits(kv_blocks=1845, block_tokens=512))
    found = figures(World(trace, [server] * 4, Settings(policy="round_robin")).run())
    assert found.output_tokens_per_s * found.makespan_s == pytest.approx(sum(trace.output_tokens))
    assert 0.2 < found.ttft_s.mean < 1.0


# --- adapters and models ---------------------------------------------------------------------------------------------

TWO_PLACES = Limits(
    kv_blocks=400, block_tokens=64, max_batched_tokens=1024, max_seqs=32, max_adapters=2, adapter_load_s=0.5
)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_router_serves_adapters(policy: str) -> None:
    trace = stream(adapters=6, rate=4.0)
    found = figures(run(trace, policy, limits=TWO_PLACES))
    assert found.shed == 0
    assert found.requests == len(trace)


def test_who_knows_what_is_loaded_loads_less() -> None:
    trace = stream(adapters=6, seconds=120.0)
    ours, blind = (figures(run(trace, name, limits=TWO_PLACES)) for name in ("roadbed", "round_robin"))
    assert ours.ttft_s.mean < 0.3 * blind.ttft_s.mean
    told = figures(run(trace, "llmd_111", limits=TWO_PLACES))
    assert told.ttft_s.mean < blind.ttft_s.mean


def test_requests_go_where_their_model_is() -> None:
    trace = Trace("two")
    for at in range(60):
        trace.add(0.2 * at, 500, 20, model="small" if at % 3 else "large")
    trace.add(13.0, 500, 20, model="unknown")
    servers = [Server(step=MODEL, limits=LIMITS, model=name) for name in ("small", "large", "small")]
    world = World(trace, servers, Settings(policy="least_load"))
    outcomes = world.run()
    assert outcomes.reasons == {"no_capable": 1}
    assert {outcomes.slots[at] for at in range(60) if at % 3} == {0, 2}
    assert {outcomes.slots[at] for at in range(60) if not at % 3} == {1}


def test_without_names_every_model_will_do() -> None:
    trace = Trace("t")
    for at in range(6):
        trace.add(at * 10.0, 500, 20)
    servers = [Server(step=MODEL, limits=LIMITS, model=name) for name in ("small", "large")]
    assert set(World(trace, servers, Settings(policy="round_robin")).run().slots) == {0, 1}
