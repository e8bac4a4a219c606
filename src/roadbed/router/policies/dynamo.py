"""NVIDIA Dynamo's KV router: blocks to prefill against blocks held by what is running.

    linear    scale · max(active prefill + incoming − overlap, 0) + (active + incoming active)
    lmetric   max(active prefill + incoming − overlap, 0) · (active + incoming active + 1)

In blocks; the lowest cost wins (temperature 0), ties by chance. Active prefill is what is queued for prefill and not
cached; active are the distinct prompt blocks of requests in flight, incoming active those of this request that would
come on top. `dynamo_linear` has the default scale 1, `dynamo_tuned` the 2 that serves the Mooncake trace best.

Source: router-concepts.md and `KvRouterConfig` of ai-dynamo 1.2.1. Its queue in front of saturated workers is left out.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, informed, lowest
from roadbed.router.replica import Replica


class Dynamo:
    """The lowest cost in blocks."""

    uses_prefix = True
    holds = False

    def __init__(self, name: str, scale: float = 1.0, product: bool = False) -> None:
        self.name = name
        self._scale = scale
        self._product = product

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        block_tokens = max(1.0, features.block_tokens)
        costs: list[float] = []
        for replica in candidates:
            overlap = context.matched_blocks[replica.bit]
            prefill = max(0.0, (replica.prefill + features.prompt_tokens) / block_tokens - overlap)
            active = len(replica.active) + replica.num_new_active(features.blocks)
            costs.append(prefill * (active + 1) if self._product else self._scale * prefill + active)
        index = lowest(costs, context.rng)
        reason = "prefix" if context.matched_blocks[candidates[index].bit] else "least_cost"
        return informed(index, reason, features, candidates, context)
