"""One GPU per card, rail by rail."""

import pytest

from roadbed.errors import UsageError
from roadbed.fabric.collective.base import ranks_of
from roadbed.fabric.collective.rails import rails_of
from tests.fabric.collective.net import family, flat


def test_rails_line_up_whatever_the_rank_order():
    fabric = flat(3, 4)
    found = rails_of(fabric, ranks_of(fabric, [3, 2, 1, 0, 4, 5, 6, 7, 10, 8, 9, 11]))
    assert found.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_accelerators_that_share_a_card_stand_for_it_once():
    fabric = family("server16", 64)
    found = rails_of(fabric, ranks_of(fabric, range(64)))
    assert found.shape == (4, 8)
    cards = fabric.gpu_nic[found]
    assert len(set(cards.ravel().tolist())) == 32


def test_uneven_servers_use_as_many_cards_as_all_have():
    fabric = flat(2, 4)
    assert rails_of(fabric, ranks_of(fabric, [0, 1, 2, 3, 5])).shape == (2, 1)
    assert rails_of(fabric, ranks_of(fabric, [0, 5])).tolist() == [[0], [5]]


def test_a_gpu_without_a_card_cannot_leave_its_server():
    fabric = flat(2, 2)
    fabric.gpu_nic[3] = -1
    with pytest.raises(UsageError, match="gpu-3 has no card"):
        rails_of(fabric, ranks_of(fabric, range(4)))
