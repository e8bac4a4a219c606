"""AIBrix's prefix-cache: the best match that is not loaded beyond one standard deviation.

1. max running − min running > 8 → least requests;
2. else by match share, falling, then by running requests: the first with running ≤ mean + 1 σ (of all, population);
3. nothing matched, or nobody so: least requests, ties by chance.

Source: AIBrix `pkg/plugins/gateway/algorithms/prefix_cache.go`, the defaults of its code (its README says 16 and 2 σ).
"""

import math
from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, informed, lowest
from roadbed.router.replica import Replica

IMBALANCE = 8
NUM_SIGMA = 1.0


class AibrixPrefixCache:
    """Affinity while the pool is balanced."""

    name = "aibrix_prefix_cache"
    uses_prefix = True
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        loads = [replica.num_running for replica in candidates]
        if max(loads) - min(loads) <= IMBALANCE:
            mean = sum(loads) / len(loads)
            sigma = math.sqrt(sum((load - mean) ** 2 for load in loads) / len(loads))
            ranked = sorted(
                (-context.matched_blocks[replica.bit], loads[index], index)
                for index, replica in enumerate(candidates)
                if context.matched_blocks[replica.bit]
            )
            for _, load, index in ranked:
                if load <= mean + NUM_SIGMA * sigma:
                    return informed(index, "prefix", features, candidates, context)
        index = lowest([float(load) for load in loads], context.rng)
        return informed(index, "least_load", features, candidates, context)
