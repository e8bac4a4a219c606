"""All-to-all and send/recv."""

import numpy as np
import pytest

from roadbed.fabric.collective import exchange
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.exchange import direct, neighbours, pxn
from tests.fabric.collective.net import flat


def sent(fabric, one):
    """[servers, servers] bytes between servers per byte of the operation."""
    num = fabric.num_servers
    out = np.zeros((num, num))
    np.add.at(out, (fabric.server[one.src], fabric.server[one.dst]), one.share[one.session])
    return out


@pytest.mark.parametrize("make", [pxn, direct])
def test_every_server_sends_every_other_its_share(make):
    fabric = flat(5, 4)
    got = sent(fabric, make(fabric, "alltoall", ranks_of(fabric, range(20))))
    expected = np.full((5, 5), 4 * 4 / 20)
    np.fill_diagonal(expected, 0)
    assert got == pytest.approx(expected)


def test_pxn_stays_on_its_rail_and_direct_does_not():
    fabric = flat(3, 4)
    ranks = ranks_of(fabric, range(12))
    same, any_rail = pxn(fabric, "alltoall", ranks), direct(fabric, "alltoall", ranks)
    assert (fabric.rail[same.src] == fabric.rail[same.dst]).all()
    assert (fabric.rail[any_rail.src] != fabric.rail[any_rail.dst]).any()
    assert same.scale_up_share > any_rail.scale_up_share, "it hands data on inside the server"


def test_a_sample_of_rotations_sends_as_much_as_all(monkeypatch):
    fabric = flat(40, 2)
    ranks = ranks_of(fabric, range(80))
    every = sent(fabric, pxn(fabric, "alltoall", ranks)).sum()
    monkeypatch.setattr(exchange, "MAX_CONNECTIONS", 800)
    sampled = pxn(fabric, "alltoall", ranks)
    assert len(sampled.src) <= 800
    assert sent(fabric, sampled).sum() == pytest.approx(every, rel=1e-9)


def test_neighbours_send_to_the_next_rank():
    fabric = flat(3, 2)
    one = neighbours(fabric, "sendrecv", ranks_of(fabric, range(6)))
    pairs = set(zip(one.src.tolist(), one.dst.tolist(), strict=True))
    assert pairs == {(1, 2), (3, 4), (5, 0)}
