"""The three layers of a cloud's LLM router: session, then prefix, then load.

1. the session's replica of the last turn (at most 1,800 s ago), unless its load > 1.5 · mean (soft affinity);
2. the longest match whose load ≤ mean · (1 + 0.3);
3. the fewest requests in flight, ties by chance.

Load is requests in flight. Source: the routing configuration in the PAI TokenWorks help pages of 2026.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, informed, lowest
from roadbed.router.replica import Replica

SESSION_LOAD_RATIO = 1.5
PREFIX_TOLERANCE = 0.3


class ThreeLayer:
    """The first layer that has an answer decides."""

    name = "three_layer"
    uses_prefix = True
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        loads = [replica.num_running for replica in candidates]
        mean = sum(loads) / len(loads)
        for index, replica in enumerate(candidates):
            if replica.slot == context.sticky_slot and loads[index] <= SESSION_LOAD_RATIO * mean:
                return informed(index, "sticky", features, candidates, context)
        best, longest = -1, 0
        for index, replica in enumerate(candidates):
            matched = context.matched_blocks[replica.bit]
            if matched > longest and loads[index] <= (1.0 + PREFIX_TOLERANCE) * mean:
                best, longest = index, matched
        if best >= 0:
            return informed(best, "prefix", features, candidates, context)
        index = lowest([float(load) for load in loads], context.rng)
        return informed(index, "least_load", features, candidates, context)
