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
    __slots__ = ("ask", "device", "position", "score")

    def __init__(self, ask: Ask, num_nodes: int) -> None:
        self.ask = ask
        self.score = np.full(num_nodes, UNFIT, np.int64)
        self.device: Ints | None = None  # of a fraction, where the policy says it with the score
        self.position = -1


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
            entry = self._cache[shape] = _Scores(Ask(state, shape), state.num_nodes)
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
                entry.score[good], device = self.policy.score(state, entry.ask, good)
                if device is not None:
                    if entry.device is None:
                        entry.device = np.zeros(state.num_nodes, np.int64)
                    entry.device[good] = device
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
        entry = self._cache[shape]
        if entry.device is not None:
            return Slot(node, (int(entry.device[node]),))
        return Slot(node, self.policy.devices(self.state, entry.ask, node))

    def _draw(self, score: Ints, shape: Shape) -> Ints:
        """Fresh scores for a policy whose scores are not a function of the state."""
        fresh = np.full(len(score), UNFIT, np.int64)
        good = np.flatnonzero(score >= 0)
        if len(good):
            fresh[good], _ = self.policy.score(self.state, self._cache[shape].ask, good)
        return fresh
