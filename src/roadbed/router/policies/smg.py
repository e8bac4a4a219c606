"""SMG's policies: affinity above a threshold, and its load score on everyone or on a random pair.

    smg_cache_aware   match rate > 0.5 → the least loaded of those with the longest match, else the least loaded of all;
                      spill to the least loaded when the chosen one's load > mean · 1.1 and load > mean + 32.
                      Load is in-flight requests; ties by requests ever sent, then by order.
    smg_least_load    argmin of  tokens queued / 2000 per s + 0.15 s · k / (1 − k),   k = KV share, at most 0.999
    power_of_two      the same score, the lower of two drawn at random

Source: SMG 1.13 `model_gateway/src/policies` (cache_aware, least_load, power_of_two) with their defaults. Here tokens
queued are counted at dispatch, so there is no ten-second poll to lag behind, and the index is as large as the engines'
caches instead of a tree of its own: both are to SMG's advantage. `prefix_affinity` is smg_cache_aware's
earlier name.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, blind, informed, lowest
from roadbed.router.replica import Replica

CACHE_THRESHOLD = 0.5
BALANCE_REL = 1.1
BALANCE_ABS = 32
_TOKENS_PER_S = 2000.0
_KV_WEIGHT_S = 0.15
_MOST_USED = 0.999


class SmgCacheAware:
    """Affinity above a threshold, load below it."""

    uses_prefix = True
    holds = False

    def __init__(self, name: str = "smg_cache_aware") -> None:
        self.name = name
        self._num_sent: dict[int, int] = {}

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        matches = [context.matched_blocks[replica.bit] for replica in candidates]
        everyone = range(len(candidates))
        longest = max(matches)
        if features.blocks and longest / len(features.blocks) > CACHE_THRESHOLD:
            holders = [index for index in everyone if matches[index] == longest]
            index, reason = self._least(holders, candidates), "prefix"
            load, mean = candidates[index].num_running, sum(r.num_running for r in candidates) / len(candidates)
            if load > mean * BALANCE_REL and load > mean + BALANCE_ABS:
                index, reason = self._least(everyone, candidates), "spill"
        else:
            index, reason = self._least(everyone, candidates), "least_load"
        slot = candidates[index].slot
        self._num_sent[slot] = self._num_sent.get(slot, 0) + 1
        return informed(index, reason, features, candidates, context)

    def _least(self, indexes: Sequence[int], candidates: Sequence[Replica]) -> int:
        best, least = -1, (0, 0)
        for index in indexes:
            replica = candidates[index]
            load = (replica.num_running, self._num_sent.get(replica.slot, 0))
            if best < 0 or load < least:
                best, least = index, load
        return best


def score_s(replica: Replica) -> float:
    """SMG's load score in seconds; lower is less loaded."""
    used = min(_MOST_USED, replica.kv_share)
    return replica.prefill / _TOKENS_PER_S + _KV_WEIGHT_S * used / (1.0 - used)


class SmgLeastLoad:
    """The lowest score of all."""

    name = "smg_least_load"
    uses_prefix = False
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        index = lowest([score_s(replica) for replica in candidates], context.rng)
        return blind(index, "least_load", features, candidates)


class PowerOfTwo:
    """The lower score of two drawn at random."""

    name = "power_of_two"
    uses_prefix = False
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        pair = context.rng.sample(range(len(candidates)), 2) if len(candidates) > 1 else [0]
        index = pair[lowest([score_s(candidates[i]) for i in pair], context.rng)]
        return blind(index, "least_load", features, candidates)
