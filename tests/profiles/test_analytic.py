import pytest

from roadbed.hardware.chips import chip
from roadbed.profiles.analytic import SHAPES, guess, kv_tokens, step_model
from roadbed.profiles.model import StepTimer
from roadbed.profiles.profile import load


@pytest.mark.parametrize(
    ("name", "measured"),
    [("h200-llama-3.1-8b-fp8", "h200-llama-3.1-8b-fp8"), ("a100-80gb-qwen3-8b", None), ("h20-qwen3-32b-fp8", None)],
)
def test_names_are_chip_model_and_dtype(name: str, measured: str | None) -> None:
    found = guess(name)
    assert found is not None
    step, room, accelerator, model, dtype, source = found
    assert room > 0
    assert accelerator.lower() in name
    assert model in name
    assert dtype in ("fp8", "bf16")
    assert source
    if measured:  # within a factor of two of what was measured
        ours, theirs = StepTimer(step), StepTimer(load(measured).variant().step)
        for seqs in (8, 64):
            kv = seqs * 2000
            mine = ours.decode(seqs)[0] + ours.decode(seqs)[1] * kv
            real = theirs.decode(seqs)[0] + theirs.decode(seqs)[1] * kv
            assert 0.5 < mine / real < 2
        assert 0.5 < ours.mixed([(8192, 0)], 1, 0, 0) / theirs.mixed([(8192, 0)], 1, 0, 0) < 2


@pytest.mark.parametrize("name", ["h200", "h200-gpt-9", "tpu-qwen3-8b", "t4-qwen3-32b", "l40s-qwen3-8b-int3", ""])
def test_what_cannot_be_guessed(name: str) -> None:
    assert guess(name) is None


def test_the_roofline_bends_where_compute_takes_over() -> None:
    timer = StepTimer(step_model(SHAPES["qwen3-8b"], chip("A100-80GB"), "bf16"))
    few, more, many = (timer.decode(n)[0] for n in (1, 32, 1024))
    assert more == pytest.approx(few, rel=0.01)
    assert many > 2 * few


def test_a_mixture_wakes_more_experts_the_more_tokens_it_sees() -> None:
    timer = StepTimer(step_model(SHAPES["qwen3-30b-a3b"], chip("H100"), "bf16"))
    assert timer.decode(1)[0] < 0.4 * timer.decode(128)[0]


def test_kv_tokens() -> None:
    shape = SHAPES["llama-3.1-8b"]
    assert shape.kv_bytes_per_token() == 131_072
    assert kv_tokens(shape, 8 << 30, "bf16") == 0
    one, two = kv_tokens(shape, 96 << 30, "bf16"), kv_tokens(shape, 96 << 30, "bf16", 2)
    assert 400_000 < one < 700_000
    assert two > 2 * one


def test_a_chip_without_the_dtype() -> None:
    with pytest.raises(ValueError, match="no known figures"):
        step_model(SHAPES["qwen3-8b"], chip("P100").__class__(
            name="x", vendor="x", memory_mib=1, memory_bandwidth_bytes_s=1.0, flops={}, link="", link_bandwidth_bytes_s=0,
            tdp_w=0, source="",
        ), "bf16")  # fmt: skip
