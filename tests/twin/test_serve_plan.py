import pytest

from roadbed.errors import UsageError
from roadbed.profiles.profile import load
from roadbed.twin.serve import Settings
from roadbed.twin.serve_plan import Asked, Run, base_of, limits_for, one, warnings
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
