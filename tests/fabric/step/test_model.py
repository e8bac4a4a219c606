"""Counts of parameters and operations against published figures."""

import pytest

from roadbed.errors import NotFoundError, UsageError
from roadbed.fabric.step.model import MODELS, Transformer, find_model


@pytest.mark.parametrize(("name", "billions"), [
    ("gpt3-13b", 12.9), ("gpt3-175b", 174.6), ("llama-7b", 6.7), ("llama-13b", 13.0), ("llama-65b", 65.2),
    ("llama2-70b", 69.0), ("llama3-405b", 405.9), ("mixtral-8x7b", 46.7), ("qwen2.5-0.5b", 0.494),
    ("qwen2.5-7b", 7.6), ("qwen2.5-32b", 32.8), ("qwen2.5-72b", 72.7),
])  # fmt: skip
def test_parameters_are_the_published_ones(name, billions):
    assert find_model(name).params / 1e9 == pytest.approx(billions, rel=0.01)


def test_one_token_of_a_mixture_meets_two_experts():
    assert find_model("mixtral-8x7b").active_params / 1e9 == pytest.approx(12.9, rel=0.01)


def test_a_step_is_six_operations_per_parameter_and_token_and_attention():
    model = find_model("llama-65b")
    six = 6 * model.params * model.seq
    assert 1.0 < model.step_flops(1) / six < 1.1


@pytest.mark.parametrize(("field", "value"), [("layers", 0), ("heads", 7), ("top_k", 2), ("seq", -1), ("kv_heads", 3)])
def test_impossible_shapes_are_refused(field, value):
    shape = {"name": "x", "layers": 2, "hidden": 64, "heads": 8, "kv_heads": 8, "ffn": 128, "vocab": 100, "seq": 16}
    with pytest.raises(UsageError):
        Transformer(**{**shape, field: value})


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(NotFoundError, match="gpt3-175b"):
        find_model("gpt3-175")
    assert find_model("GPT3-175B") is MODELS["gpt3-175b"]
