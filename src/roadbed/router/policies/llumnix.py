"""Llumnix's cache-aware policy: the fewest tokens to prefill, this request's misses included.

    argmin of  (tokens missed by the prefix + tokens queued for prefill,  requests in flight),  ties by chance

Source: llumnix v1 (`cache_aware_all_prefills_tokens_num`, top-K = 1). Its running prefills lose what a step model says
they have computed meanwhile; here they count in full until the first token.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, informed, matched_tokens
from roadbed.router.replica import Replica


class LlumnixCacheAware:
    """The shortest prefill queue after this request."""

    name = "llumnix_cache_aware"
    uses_prefix = True
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        loads = [
            (features.prompt_tokens - matched_tokens(features, replica, context) + replica.prefill, replica.num_running)
            for replica in candidates
        ]
        least = min(loads)
        tied = [index for index, load in enumerate(loads) if load == least]
        index = tied[0] if len(tied) == 1 else context.rng.choice(tied)
        reason = "prefix" if context.matched_blocks[candidates[index].bit] else "least_load"
        return informed(index, reason, features, candidates, context)
