"""Every replica in turn. The baseline: blind to load and to caches."""

from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, predict_ttft_s
from roadbed.router.replica import Replica


class RoundRobin:
    name = "round_robin"
    uses_prefix = False
    holds = False

    def __init__(self) -> None:
        self._last_slot = -1

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        index = next((i for i, replica in enumerate(candidates) if replica.slot > self._last_slot), 0)
        chosen = candidates[index]
        self._last_slot = chosen.slot
        return Choice(index, "round_robin", predict_ttft_s(chosen, features.prompt_tokens), 0)
