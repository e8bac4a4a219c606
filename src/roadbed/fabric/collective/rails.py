"""Which GPU of a server stands for which card, so that channels run over every card once."""

import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import NOWHERE, Fabric, Ints
from roadbed.fabric.collective.base import Ranks


def rails_of(fabric: Fabric, ranks: Ranks) -> Ints:
    """[N, R] one GPU per card of each server, rail by rail; R = the fewest cards a server's ranks have.

    Servers whose ranks share cards (two accelerators per card) give one GPU per card. Servers that have different
    rails among their ranks are joined place by place. Raises UsageError for a GPU without a card.
    """
    grid = ranks.grid()
    cards = fabric.gpu_nic[grid]
    if ranks.num_servers > 1 and (cards == NOWHERE).any():
        raise UsageError(f"gpu-{grid[cards == NOWHERE][0]} has no card: it can't reach other servers", field="gpus")
    if grid.shape[1] == 1:
        return grid
    order = np.argsort(fabric.rail[cards], axis=1, kind="stable")
    grid, cards = np.take_along_axis(grid, order, 1), np.take_along_axis(cards, order, 1)
    fresh = np.ones(grid.shape, bool)
    fresh[:, 1:] = cards[:, 1:] != cards[:, :-1]
    width = int(fresh.sum(axis=1).min())
    place = np.argsort(~fresh, axis=1, kind="stable")[:, :width]
    found: Ints = np.take_along_axis(grid, place, 1)
    return found
