"""SMG's cache_aware rule over an approximate prefix index, as its defaults have it.

1. match rate > 0.5 → the least loaded of those with the longest match; else the least loaded of all;
2. spill to the least loaded when the chosen one's load > mean · 1.1 and > mean + 32.

Load is in-flight requests. Source: SMG 1.13 `policies/cache_aware`.
"""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, matched_tokens, predict_ttft_s
from roadbed.router.replica import Replica

CACHE_THRESHOLD = 0.5
BALANCE_REL = 1.1
BALANCE_ABS = 32


class PrefixAffinity:
    name = "prefix_affinity"
    uses_prefix = True
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        loads = [replica.num_running for replica in candidates]
        matches = [context.matched_blocks[replica.bit] for replica in candidates]
        everyone = range(len(candidates))
        longest = max(matches)
        if features.blocks and longest / len(features.blocks) > CACHE_THRESHOLD:
            holders = [index for index in everyone if matches[index] == longest]
            index, reason = min(holders, key=lambda i: (loads[i], i)), "prefix"
            mean = sum(loads) / len(loads)
            if loads[index] > mean * BALANCE_REL and loads[index] > mean + BALANCE_ABS:
                index, reason = min(everyone, key=lambda i: (loads[i], i)), "spill"
        else:
            index, reason = min(everyone, key=lambda i: (loads[i], i)), "least_load"
        matched = matched_tokens(features, candidates[index], context)
        return Choice(index, reason, predict_ttft_s(candidates[index], features.prompt_tokens - matched), matched)
