import msgspec
import pytest

from roadbed.errors import UsageError
from roadbed.profiles.profile import load
from roadbed.twin.serve import Settings
from roadbed.twin.serve_fleet import Group, parse, written
from roadbed.twin.serve_fleet_scale import Scaling
from roadbed.twin.serve_plan import Asked, Question, Run, base_of, limits_for, one, smallest, warnings, what_ifs
from roadbed.twin.serve_synthetic import Recipe, generate
from roadbed.twin.serve_trace import Trace

H200 = load("h200-llama-3.1-8b-fp8")


def prompts(*sizes: int) -> Trace:
    trace = Trace("t")
    for at, size in enumerate(sizes):
        trace.add(float(at), size, 10)
    return trace.in_order()


def test_limits_come_from_profile_and_trace() -> None:
    trace = prompts(10)
    assert limits_for(H200, trace, Asked()).kv_blocks == 945029 // 16
    trace.block_tokens = 512
    found = limits_for(H200, trace, Asked(max_seqs=7, max_batched_tokens=9))
    assert (found.kv_blocks, found.block_tokens, found.max_seqs, found.max_batched_tokens) == (1845, 512, 7, 9)
    assert limits_for(H200, trace, Asked(kv_blocks=5, block_tokens=64)).kv_blocks == 5


def test_a_budget_below_the_batch() -> None:
    with pytest.raises(UsageError, match="below --max-seqs"):
        limits_for(H200, prompts(10), Asked(max_seqs=10, max_batched_tokens=9))


def test_a_run_is_a_row() -> None:
    shared = {"trace": generate(Recipe(rate=2, seconds=10)), "profiles": {"p": H200}, "asked": Asked(),
              "settings": Settings(slo_ttft_s=2.0)}  # fmt: skip
    found = one(shared, Run(policy="round_robin", replicas=2, speedup=2.0, profile="p", seed=9, samples=True))
    assert (found.router, found.replicas, found.speedup, found.seed, found.profile) == ("round_robin", 2, 2.0, 9, "p")
    assert found.samples
    assert found.wall_s > 0


def test_nothing_to_warn_of() -> None:
    assert warnings(prompts(100, 200), H200, Asked(max_seqs=128), Settings(slo_ttft_s=2.0, slo_itl_s=0.025)) == []


def test_what_nobody_can_keep_names_its_request() -> None:
    said = warnings(prompts(100, 80_000, 90_000), H200, Asked(max_seqs=128), Settings(slo_ttft_s=1.0, slo_itl_s=0.001))
    assert any(words.startswith("profile h200") and "context tokens 90,010" in words for words in said)
    assert any(words.startswith("request 2: 80,000 tokens") and "2 such" in words for words in said)
    assert any("no request can meet it" in words for words in said)


def test_requests_that_can_never_run() -> None:
    said = warnings(prompts(100, 2000), H200, Asked(kv_blocks=100, max_seqs=128), Settings())
    assert said == ["request 2: longer than the KV cache of 1,600 tokens; 1 such, shed"]


def test_a_guess_is_called_one() -> None:
    assert any("nobody measured" in words for words in warnings(prompts(9), load("l40s-qwen3-8b"), Asked(), Settings()))


def test_suffixes() -> None:
    assert base_of("roadbed") == "roadbed"
    assert base_of("round_robin+gate") == "round_robin"
    with pytest.raises(UsageError, match=r"\+shut"):
        base_of("roadbed+shut")


SHARED = {"trace": generate(Recipe(rate=2, seconds=10)), "profiles": {"p": H200, "q": load("rtxpro6000-llama-3.1-8b")},
          "asked": Asked(), "settings": Settings(slo_ttft_s=2.0)}  # fmt: skip


def test_a_mixed_fleet_is_a_row_with_its_price() -> None:
    fleet = parse("p:1@20,q:2@6")
    found = one(SHARED, Run(policy="least_load", replicas=3, speedup=1.0, fleet=fleet))
    assert (found.fleet, found.replicas, found.labels) == ("p:1,q:2", 3, ["p", "q", "q"])
    assert found.kv_blocks == min(
        limits_for(profile, SHARED["trace"], Asked()).kv_blocks for profile in (H200, SHARED["profiles"]["q"])
    )
    assert found.cny_per_hour == 32.0
    assert found.autoscaler is None
    assert found.gpu_hours is None


def test_an_autoscaled_run_counts_devices() -> None:
    scaling = Scaling(autoscaler="hpa", num_min=2, num_max=2)
    found = one(
        SHARED, Run(policy="least_load", replicas=9, speedup=1.0, profile="q", scaling=scaling, cost_per_hour=6.0)
    )
    assert (found.autoscaler, found.peak_replicas, found.replicas, found.scale_events) == ("hpa", 2, 2, 0)
    assert found.gpu_hours == pytest.approx(2 * found.makespan_s / 3600)
    assert found.cost_cny == pytest.approx(found.gpu_hours * 6.0)
    assert found.cny_per_hour == pytest.approx(12.0)
    two = one(
        {**SHARED, "asked": Asked(tp=2)},
        Run(policy="least_load", replicas=0, speedup=1.0, profile="q", scaling=scaling),
    )
    assert two.gpu_hours == pytest.approx(2 * 2 * two.makespan_s / 3600)
    assert two.cost_cny is None


def test_what_if_of_every_kind_of_fleet() -> None:
    swap = Group(profile="q", num=1, cost_per_hour=6.0)
    scaling = Scaling(autoscaler="hpa")
    runs = [
        Run(policy="a", replicas=2, speedup=2.0, profile="p"),
        Run(policy="a", replicas=3, speedup=2.0, profile="p", samples=True),
        Run(policy="a", replicas=3, speedup=1.0, profile="p"),
        Run(policy="a", replicas=3, speedup=2.0, fleet=parse("p:1,q:2")),
        Run(policy="a", replicas=0, speedup=2.0, profile="p", scaling=scaling),
        Run(policy="a", replicas=5, speedup=2.0, profile="p", is_reference=True),
    ]
    found = what_ifs(runs, swap)
    assert [(run.change, run.replicas, run.profile, written(run.fleet), run.scaling) for run in found] == [
        ("+1 replica", 4, "p", "", None),
        ("on q", 3, "q", "", None),
        ("+1 p", 3, "", "p:2,q:2", None),
        ("+1 q", 3, "", "p:1,q:3", None),
        ("on q", 3, "q", "", None),
        ("on q", 1, "q", "", scaling),
    ]
    assert not any(run.samples for run in found)
    assert found[1].cost_per_hour == 6.0
    assert [run.change for run in what_ifs(runs[:2], None)] == ["+1 replica"]


def test_the_smallest_fleet_that_is_good_enough() -> None:
    trace = generate(Recipe(rate=8, seconds=60, prompt=2000, output=100))
    shared = {**SHARED, "trace": trace, "settings": Settings(slo_ttft_s=1.0, slo_itl_s=0.03)}
    base = Run(policy="least_load", replicas=0, speedup=1.0, profile="q", samples=True)
    shares = {num: one(shared, msgspec.structs.replace(base, replicas=num)).goodput_share for num in range(1, 9)}
    wanted = ((shares[3], "three"), (shares[3] - 1e-9, "nearly"), (shares[8], "eight"), (1.5, "never"))
    found = smallest(shared, Question(run=base, num_max=8, wanted=wanted))
    expected = {share: min(num for num in shares if shares[num] >= share) for share, _ in wanted[:3]}
    assert [row.replicas for row in found] == sorted(set(expected.values()))
    assert found[0].change == "as good as three, nearly"
    assert found[0].autoscaler == "fixed"
    assert all(not row.samples for row in found)
