"""Where one process goes: the best node by a policy's score, from caches that only follow what changed.

For each shape the scores of all nodes are kept; asked again, the nodes changed since are scored anew and the rest
stands. Ties go to the node that comes first.
"""

import numpy as np

from roadbed.scheduler.base import Shape, Slot
from roadbed.scheduler.policies.base import Ask, Policy
from roadbed.scheduler.state import Ints, State

_MAX_SHAPES = 4096  # caches kept; a stream of ever new shapes must not grow memory
UNFIT = -1


class _Scores:
    __slots__ = ("ask", "position", "score")

    def __init__(self, ask: Ask, score: Ints, position: int) -> None:
        self.ask = ask
        self.score = score
        self.position = position


class Placer:
    """Places single processes on one state by one policy. Plans only: the caller takes the slot."""

    def __init__(self, state: State, policy: Policy) -> None:
        self.state = state
        self.policy = policy
        self._cache: dict[Shape, _Scores] = {}
        self._all = np.arange(state.num_nodes, dtype=np.int64)

    def scores(self, shape: Shape) -> Ints:
        """int64[N] of all nodes, UNFIT where the shape does not fit now. Owned by the cache: read only."""
        state = self.state
        entry = self._cache.get(shape)
        if entry is None:
            entry = self._cache[shape] = _Scores(Ask(state, shape), np.full(state.num_nodes, UNFIT, np.int64), -1)
            if len(self._cache) > _MAX_SHAPES:
                self._cache.pop(next(iter(self._cache)))
        nodes, entry.position = state.changed_since(entry.position)
        if nodes is None:
            nodes = self._all
        if len(nodes):
            fits = entry.ask.fits(state, nodes)
            entry.score[nodes] = UNFIT
            good = nodes[fits]
            if len(good):
                entry.score[good] = self.policy.score(state, entry.ask, good)
        return entry.score

    def best(self, shape: Shape, nodes: Ints | None = None) -> Slot | None:
        """The slot for one process, on one of `nodes` if given; None when it fits nowhere now."""
        score = self.scores(shape)
        if not len(score):
            return None
        if self.policy.volatile:
            score = self._draw(score, shape)
        node = int(score.argmax() if nodes is None else nodes[score[nodes].argmax()])
        return self.slot(shape, node) if score[node] >= 0 else None

    def slot(self, shape: Shape, node: int) -> Slot:
        """One process on a node it fits on: which devices it takes there."""
        return Slot(node, self.policy.devices(self.state, self._cache[shape].ask, node))

    def _draw(self, score: Ints, shape: Shape) -> Ints:
        """Fresh scores for a policy whose scores are not a function of the state."""
        fresh = np.full(len(score), UNFIT, np.int64)
        good = np.flatnonzero(score >= 0)
        if len(good):
            fresh[good] = self.policy.score(self.state, self._cache[shape].ask, good)
        return fresh
