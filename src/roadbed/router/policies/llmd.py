"""llm-d's weighted scorers, each in [0, 1], and its picker of the highest sum.

    score = w_prefix · matched blocks / prompt blocks
          + w_queue · (max queue − queue) / (max queue − min queue)        1 for everyone when all are equal
          + w_kv · (1 − KV share)
          + w_lora · (1 adapter loaded, 0.8 a place for it, 0.6 waited for there, else 0)       of requests with one

`llmd_111` weighs all alike, `llmd_322` is the shipped configuration (prefix 3, queue 2, KV 2); w_lora is 1 in both.
Queue is the number of requests without a first token; it and the adapters loaded are counted at dispatch rather than
scraped. Source: `pkg/epp/framework/plugins/**`.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, highest, informed
from roadbed.router.replica import Replica


class LlmdScorers:
    """The highest weighted sum; ties by chance."""

    uses_prefix = True
    holds = False

    def __init__(self, name: str, prefix: float, queue: float, kv: float) -> None:
        self.name = name
        self._prefix, self._queue, self._kv = prefix, queue, kv

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        queues = [replica.num_unanswered for replica in candidates]
        longest, spread = max(queues), max(queues) - min(queues)
        num_blocks = max(1, len(features.blocks))
        scores = [
            self._prefix * context.matched_blocks[replica.bit] / num_blocks
            + self._queue * ((longest - queue) / spread if spread else 1.0)
            + self._kv * (1.0 - min(1.0, replica.kv_share))
            for replica, queue in zip(candidates, queues, strict=True)
        ]
        if features.adapter:
            for at, replica in enumerate(candidates):
                if replica.adapters is not None:
                    scores[at] += replica.adapters.affinity(features.adapter)
        index = highest(scores, context.rng)
        reason = "prefix" if context.matched_blocks[candidates[index].bit] else "least_load"
        return informed(index, reason, features, candidates, context)
