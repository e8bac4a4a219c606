"""Walks: every hop is one the switch could have taken, and the one its hash names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.fabric.base import NOWHERE, Fabric, Kind
from roadbed.fabric.hashing import HashModel
from roadbed.fabric.routes import Routes
from roadbed.fabric.walk import walk
from tests.fabric.networks import single_tor, small_dcn, small_hpn

FABRICS = {
    "hpn7": small_hpn(),
    "hpn7, pods": small_hpn(gpus=96, segments=1, pods=6),
    "dcn_plus, pods": small_dcn(gpus=96, segments=2, pods=3),
    "single ToR": single_tor(8),
}


def _pairs(routes: Routes, fabric: Fabric, num: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    src, dst = rng.choice(fabric.gpu_nic, num), rng.choice(fabric.gpu_nic, num)
    slots = routes.slots(src, dst) & (src != dst)[:, None]
    some = slots.any(axis=1)
    src, dst, slots = src[some], dst[some], slots[some]
    first = routes.ports[src - routes.first_nic, slots.argmax(axis=1)]
    return src, dst, first, rng.integers(0, 2**32, len(src), dtype=np.uint32)


@pytest.mark.parametrize("name", FABRICS)
@given(seed=st.integers(0, 1000), broken=st.lists(st.integers(0, 10_000), max_size=8))
@settings(max_examples=15, deadline=None)
def test_walks_lead_from_card_to_card(name: str, seed: int, broken: list[int]) -> None:
    fabric = FABRICS[name]
    routes = Routes(fabric)
    some = [one % fabric.num_links for one in broken]
    routes.health.link_up[some] = False
    routes.update(some)
    model = HashModel(crc=32, seed_per="switch")
    src, dst, first, crc = _pairs(routes, fabric, 80, seed)
    for row, a, b, word in zip(walk(routes, model, first, dst, crc), src, dst, crc, strict=True):
        links = row[row != NOWHERE]
        assert fabric.src[links[0]] == a
        assert fabric.dst[links[-1]] == b
        assert np.array_equal(fabric.dst[links[:-1]], fabric.src[links[1:]])
        assert routes.usable[links].all()
        kinds = fabric.kind[fabric.dst[links]].astype(int)
        assert (np.diff(np.sign(np.diff(kinds))) <= 0).all()  # up, then down, never up again
        _check_choices(routes, model, links, int(b), word)


def _check_choices(routes: Routes, model: HashModel, links: np.ndarray, dst: int, word: np.uint32) -> None:
    fabric = routes.fabric
    group = routes.group(np.array([dst], np.int32))
    for before, taken in zip(links[:-2], links[1:-1], strict=True):
        here = np.array([fabric.src[taken]], np.int32)
        equal = routes.candidates(here, group)[1]
        named = model.spread(np.array([word], np.uint32), here, fabric.kind[here])[0] % len(equal)
        fixed = NOWHERE
        if fabric.traits.core_by_port and fabric.kind[here[0]] == Kind.CORE:
            fixed = int(routes.fixed_egress(np.array([before], np.int32), np.array([dst], np.int32), group)[0])
        assert taken == (equal[named] if fixed == NOWHERE else fixed)


def test_a_walk_does_not_depend_on_its_neighbours() -> None:
    """Many at once, in chunks, and each alone: the same."""
    fabric = FABRICS["dcn_plus, pods"]
    routes = Routes(fabric)
    _, dst, first, crc = _pairs(routes, fabric, 60, 1)
    together = walk(routes, HashModel(), first, dst, crc)
    for at in range(len(first)):
        alone = walk(routes, HashModel(), first[at : at + 1], dst[at : at + 1], crc[at : at + 1])[0]
        row = together[at]
        assert row[row != NOWHERE].tolist() == alone[alone != NOWHERE].tolist()
    many = 60_000 // len(first)
    repeated = walk(routes, HashModel(), np.tile(first, many), np.tile(dst, many), np.tile(crc, many))
    assert np.array_equal(repeated, np.tile(together, (many, 1)))


def test_none_to_walk() -> None:
    none = np.zeros(0, np.int32)
    assert walk(Routes(FABRICS["hpn7"]), HashModel(), none, none, none.astype(np.uint32)).shape == (0, 1)
