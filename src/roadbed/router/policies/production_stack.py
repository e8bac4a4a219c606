"""The policies of vLLM's production-stack: session, prefixaware, loadaware.

    session_affinity   the session's place on a hash ring; without a session the replica with the lowest request rate
                       of the last 60 s
    vllm_prefixaware   longest match in a trie of everything ever sent, a random one of those that share it: no load
                       term, no eviction. Nothing matched means a random one of all (minimum match length 0).
    vllm_loadaware     argmax of  matched / prompt − β · (load − mean) / max(1, mean),   β = 1, load = requests
                       in flight

Source: `src/vllm_router/routers/routing_logic.py`, `prefix/hashtrie.py`; loadaware is its PR #1035. Two things differ:
highest random weight stands for the ring (the same property, nothing to build), and the trie forgets its oldest
entries beyond a million, because a gateway with unbounded memory falls over.
"""

from collections import deque
from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, blind, highest, informed, lowest
from roadbed.router.replica import Replica

RATE_WINDOW_S = 60.0
MOST_CHUNKS = 1_000_000
BETA = 1.0


class SessionAffinity:
    """The session decides; load only where there is none."""

    name = "session_affinity"
    uses_prefix = False
    holds = False

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque()
        self._rate: dict[int, int] = {}

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        self._forget(context.now - RATE_WINDOW_S)
        session = features.session
        if session is not None:
            key = session.encode()
            index = highest([float(xxh3_64_intdigest(key, _seed(replica.id))) for replica in candidates], context.rng)
            reason = "sticky"
        else:
            index = lowest([float(self._rate.get(replica.slot, 0)) for replica in candidates], context.rng)
            reason = "least_load"
        slot = candidates[index].slot
        self._sent.append((context.now, slot))
        self._rate[slot] = self._rate.get(slot, 0) + 1
        return blind(index, reason, features, candidates)

    def _forget(self, before: float) -> None:
        sent = self._sent
        while sent and sent[0][0] <= before:
            self._rate[sent.popleft()[1]] -= 1


def _seed(replica_id: str) -> int:
    return xxh3_64_intdigest(replica_id.encode())


class PrefixAware:
    """The longest match, whatever the load."""

    name = "vllm_prefixaware"
    uses_prefix = False
    holds = False

    def __init__(self) -> None:
        self._trie: dict[int, int] = {}
        """Chained block hash → bits of the slots it was ever sent to."""

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        left = 0
        for replica in candidates:
            left |= 1 << replica.slot
        depth = 0
        for block in features.blocks:
            both = left & self._trie.get(block, 0)
            if not both:
                break
            left = both
            depth += 1
        holders = [index for index, replica in enumerate(candidates) if left >> replica.slot & 1]
        index = context.rng.choice(holders)
        self._insert(features.blocks, 1 << candidates[index].slot)
        return blind(index, "prefix" if depth else "random", features, candidates)

    def _insert(self, blocks: Sequence[int], flag: int) -> None:
        trie = self._trie
        for block in blocks:
            trie[block] = trie.get(block, 0) | flag
        while len(trie) > MOST_CHUNKS:
            del trie[next(iter(trie))]


class LoadAware:
    """The share of the prompt that is cached, less the load above the mean."""

    name = "vllm_loadaware"
    uses_prefix = True
    holds = False

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        num_blocks = max(1, len(features.blocks))
        mean = sum(replica.num_running for replica in candidates) / len(candidates)
        scale = BETA / max(1.0, mean)
        scores = [
            context.matched_blocks[replica.bit] / num_blocks - scale * (replica.num_running - mean)
            for replica in candidates
        ]
        index = highest(scores, context.rng)
        reason = "prefix" if context.matched_blocks[candidates[index].bit] else "least_load"
        return informed(index, reason, features, candidates, context)
