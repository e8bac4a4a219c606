import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.blocks import chain


@given(st.binary(max_size=2000), st.binary(max_size=2000), st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_equal_hashes_mean_equal_prefixes(a: bytes, b: bytes, size: int, seed: int) -> None:
    first, second = chain(a, seed, size), chain(b, seed, size)
    assert len(first) == len(a) // size
    for index, (x, y) in enumerate(zip(first, second, strict=False)):
        end = (index + 1) * size
        assert (x == y) == (a[:end] == b[:end])


def test_the_chain_depends_on_what_came_before() -> None:
    assert chain(b"aaaabbbb", 0, 4)[1] != chain(b"ccccbbbb", 0, 4)[1]
    assert chain(b"aaaabbbb", 0, 4)[1] != chain(b"bbbb", 0, 4)[0]


def test_seed_separates_models() -> None:
    assert not set(chain(b"x" * 64, 1, 16)) & set(chain(b"x" * 64, 2, 16))


def test_a_longer_prompt_keeps_the_hashes_of_its_beginning() -> None:
    data = bytes(range(256)) * 3
    assert chain(data, 7, 100)[:4] == chain(data[:450], 7, 100)


def test_block_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="block_bytes"):
        chain(b"x", 0, 0)
