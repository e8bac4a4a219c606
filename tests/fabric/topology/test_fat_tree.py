"""The k-ary fat tree: its closed forms for every k, and what does not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.base import Kind, LinkKind
from roadbed.fabric.registry import build
from tests.fabric.topology.ports import ports, switches


@given(half=st.integers(2, 8))
def test_closed_forms(half: int) -> None:
    k = 2 * half
    fabric = build("fat_tree", k=k, gpus_per_server=1, nics_per_server=1)
    assert fabric.num_gpus == k**3 // 4
    assert switches(fabric) == [k * half, k * half, half * half]
    for kind, link in [
        (Kind.TOR, LinkKind.ACCESS), (Kind.TOR, LinkKind.FABRIC), (Kind.AGG, LinkKind.FABRIC), (Kind.AGG, LinkKind.CORE),
    ]:  # fmt: skip
        assert ports(fabric, kind, link) == {half}
    assert ports(fabric, Kind.CORE, LinkKind.CORE) == {k}


def test_the_papers_comparison() -> None:
    assert build("fat_tree", k=48).num_gpus == 27_648


@given(gpus=st.integers(1, 600))
def test_the_smallest_k_that_holds_them(gpus: int) -> None:
    fabric = build("fat_tree", gpus=gpus)
    k = int(fabric.nodes(Kind.CORE).size ** 0.5) * 2
    servers = -(-gpus // 8)
    assert (k - 2) ** 3 // 4 < servers * 8 <= k**3 // 4
    assert fabric.num_gpus == servers * 8


@pytest.mark.parametrize("given", [{"k": 7}, {"k": 2}, {"k": 4, "gpus": 32}])
def test_what_can_not_be(given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="a fat tree of k="):
        build("fat_tree", **given)
