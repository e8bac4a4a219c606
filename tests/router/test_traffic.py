"""Blocks of the traffic log: coarse, exact in JSON, and as telling as all of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.traffic import BLOCK_TOKENS, MAX_BLOCKS, coarse

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=300)


@given(HASHES, HASHES, HASHES, st.floats(8, 600))
def test_prompts_share_as_many_coarse_blocks_as_full_ones_of_their_prefix(shared, left, right, block_tokens):
    first, size = coarse([*shared, *left], block_tokens)
    second, _ = coarse([*shared, *right], block_tokens)
    stride = round(size / block_tokens)
    common = len(shared) // stride
    assert first[:common] == second[:common]
    assert len(first) == (len(shared) + len(left)) // stride


@pytest.mark.parametrize(("block_tokens", "stride"), [(64, 8), (60, 9), (512, 1), (2048, 1), (0.5, 1024)])
def test_blocks_are_about_those_of_engines(block_tokens, stride):
    blocks, size = coarse(list(range(stride * 3)), block_tokens)
    assert len(blocks) == 3
    assert size == pytest.approx(block_tokens * stride)
    if block_tokens <= BLOCK_TOKENS:
        assert size == pytest.approx(BLOCK_TOKENS, rel=0.06)


def test_an_endless_prompt_keeps_a_bounded_number_and_json_keeps_them_exactly():
    blocks, size = coarse([2**64 - 1 - at for at in range(9 * MAX_BLOCKS)], 512)
    assert len(blocks) <= MAX_BLOCKS
    assert size == 512 * 16
    assert json.loads(json.dumps(blocks)) == blocks
    assert all(float(block) == block for block in blocks)
