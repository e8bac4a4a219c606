"""The least work outstanding: SMG's load score, with the tokens still to be generated counted beside those queued.

    score = tokens / 2000 per s + 0.15 s · k / (1 − k),   k = KV share in use, at most 0.999

After SMG 1.13 `policies/least_load` (as published: `smg_least_load`); tokens are counted at dispatch, so there is no
poll to lag behind.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, predict_ttft_s
from roadbed.router.replica import Replica

_TOKENS_PER_S = 2000.0
_KV_WEIGHT_S = 0.15


def load_score_s(replica: Replica) -> float:
    """SMG's score; lower is less loaded."""
    used = min(0.999, replica.kv_share)
    return (replica.prefill + replica.decode) / _TOKENS_PER_S + _KV_WEIGHT_S * used / (1.0 - used)


class LeastLoad:
    """The replica with the lowest score."""

    name = "least_load"
    uses_prefix = False
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        scores = [(load_score_s(replica), replica.num_running) for replica in candidates]
        best = min(scores)
        tied = [index for index, score in enumerate(scores) if score == best]
        index = tied[0] if len(tied) == 1 else context.rng.choice(tied)
        return Choice(index, "least_load", predict_ttft_s(candidates[index], features.prompt_tokens), 0)
