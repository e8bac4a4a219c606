"""A request on its way through a replica, and what its end teaches."""

from collections.abc import Sequence

from roadbed.router.admission import Waiting
from roadbed.router.estimate import ReplicaModel, ServiceModel
from roadbed.router.prefix import PrefixIndex
from roadbed.router.replica import Replica

_TOGETHER_S = 0.001
"""First tokens this close come from the same iteration."""
_MOST_BESIDE = 0.5
"""A stream beside which prompts were computed for a larger share of its time says nothing about steps."""
_MIN_DECODE_TOKENS = 4
"""Shorter answers say more about the network than about the engine."""


class Live:
    """Dispatched and not yet over. What was charged to the account (prefill, context, decode) is kept, so release is
    exact.

    ahead_tokens: prefill outstanding on the replica at dispatch. num_running: requests running there at dispatch, this
    one excluded. touched: earlier last touches of the matched blocks that were computed by then; num_pending: how many
    more were being computed. computing: blocks this request computes, until its first byte. active: its blocks, charged
    once for all that share them; context: what is its own. first_byte_at: 0 = not yet. alone: no other worker had
    prompts queued there. service_from: when the engine began with its prompt, −1 = its first token came with another's,
    who teaches for both. beside_tokens: those of prompts whose first tokens came together with this one's. computed:
    the replica's, then. fills: sent into a gap, and not answered yet. loads: its adapter had to be loaded first.
    """

    __slots__ = (
        "active", "ahead_tokens", "alone", "beside_tokens", "bit", "computed", "computing", "context", "decode",
        "dispatched_at", "fills", "first_byte_at", "loads", "num_pending", "num_running", "prefill", "service_from",
        "slot", "touched", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        waiting: Waiting,
        replica: Replica,
        dispatched_at: float,
        prefill: int,
        touched: Sequence[float],
    ) -> None:
        """Call before the request is charged to the replica."""
        decode = waiting.features.output_tokens
        self.waiting = waiting
        self.slot = replica.slot
        self.bit = replica.bit
        self.dispatched_at = dispatched_at
        self.prefill = prefill
        self.context = waiting.features.prompt_tokens + decode
        self.decode = decode
        self.ahead_tokens = replica.prefill
        self.num_running = replica.num_running
        self.touched = touched
        self.computing: Sequence[int] = ()
        self.active: Sequence[int] = ()
        self.num_pending = 0
        self.loads = False
        self.first_byte_at = 0.0
        self.alone = replica.prefill == replica.own_prefill
        self.service_from = dispatched_at
        self.beside_tokens = 0
        self.computed = 0
        self.fills = False


def answered(live: Live, replica: Replica, before: Live | None, now: float) -> None:
    """Its first token came; `before` is the request whose first token was the replica's last, if that still runs. Call
    before its prefill is released."""
    live.first_byte_at = now
    if now - replica.first_at < _TOGETHER_S and live.dispatched_at < replica.first_at and before is not None:
        before.beside_tokens += live.prefill
        live.service_from = -1.0
    else:
        live.service_from = max(live.dispatched_at, replica.first_at)
        replica.first_at, replica.first_id = now, live.waiting.features.request_id
    replica.progress_at = now
    replica.begin_stream(now)
    live.computed = replica.computed + live.prefill


def learn(
    live: Live,
    replica: Replica,
    service: ServiceModel,
    prefix: PrefixIndex,
    now: float,
    *,
    prompt_tokens: int,
    cached_tokens: int | None,
    completion_tokens: int,
) -> None:
    """Improves every estimate with one well-ended request; call before it is released from the account. Tokens are as
    the engine told: prompt_tokens 0 and cached_tokens None = it did not."""
    service.observe_prompt(prompt_tokens, live.waiting.features.prompt_bytes)
    service.observe_output(completion_tokens, now - live.dispatched_at)
    if cached_tokens is not None and prompt_tokens > 0:
        _learn_cache(live, replica, service, prefix, prompt_tokens, cached_tokens)
    known = cached_tokens is not None and prompt_tokens > 0
    uncached = max(0, prompt_tokens - (cached_tokens or 0)) if known else live.prefill
    typical = replica.typical
    if typical is None:
        if replica.own_model.due(now):
            _learn_times(live, replica, replica.own_model, uncached, completion_tokens, now)
    elif typical.due(now):
        _learn_times(live, replica, typical, uncached, completion_tokens, now)
        replica.compare(now)


def _learn_cache(
    live: Live, replica: Replica, service: ServiceModel, prefix: PrefixIndex, prompt_tokens: int, cached_tokens: int
) -> None:
    """Compares predicted with real cached tokens; blocks whose prefill may have been running prove nothing."""
    features = live.waiting.features
    if live.bit != replica.bit or not (live.touched or live.num_pending):
        return
    block_tokens = max(1.0, features.block_tokens * prompt_tokens / max(1, features.prompt_tokens))
    num_cached = int(cached_tokens / block_tokens) + 1  # the engine's blocks end elsewhere than ours
    if live.num_pending and num_cached > len(live.touched):
        replica.own_model.observe_pending(num_cached > len(live.touched) + live.num_pending // 2)
        service.typical.pending_trust = replica.own_model.pending_trust
    if not live.touched:
        return
    if num_cached < len(live.touched):
        if prefix.confirmed(live.touched[num_cached], live.dispatched_at):
            prefix.missed(live.bit, live.touched, num_cached, live.dispatched_at)
            replica.own_model.observe_cache(len(live.touched), num_cached - 1)
    else:
        replica.own_model.observe_cache(1.0, 1.0)


def _learn_times(live: Live, replica: Replica, model: ReplicaModel, uncached: int, num_output: int, now: float) -> None:
    """A stream tells TTFT and TPOT apart; a whole answer is split in the proportion now predicted,
    which finds their sum and, as lengths vary, most of the split."""
    features = live.waiting.features
    tokens = live.ahead_tokens + uncached
    running = 0.5 * (live.num_running + 1 + replica.num_running)
    has_slot = live.num_running < replica.max_concurrency
    if features.stream and live.first_byte_at:
        if live.alone and live.service_from >= 0.0:
            tokens, ttft_s = uncached + live.beside_tokens, live.first_byte_at - live.service_from
        else:
            ttft_s = live.first_byte_at - live.dispatched_at
            has_slot = has_slot and not live.alone
        decode_s, num_steps = now - live.first_byte_at, num_output - 1
        under_way_s = min(now - replica.progress_at, replica.model.prefill_s * replica.prefill)
        beside_s = replica.model.prefill_s * max(0, replica.computed - live.computed) + max(0.0, under_way_s)
        if beside_s > _MOST_BESIDE * decode_s:
            num_steps = 0
        decode_s -= beside_s
    else:
        num_steps = num_output
        ttft_s, decode_s = model.ttft_s(tokens, live.num_running), num_output * model.step_time_s(running)
        ratio = (now - live.dispatched_at) / max(ttft_s + decode_s, 1e-9)
        ttft_s, decode_s = ttft_s * ratio, decode_s * ratio
    if live.loads:
        if features.stream and live.first_byte_at and replica.adapters is not None:
            late_s = live.first_byte_at - live.dispatched_at - model.ttft_s(tokens, live.num_running)
            replica.adapters.observe_load(late_s)
    elif has_slot:
        replica.compared_ttft.observe(ttft_s, model.ttft_s(tokens, live.num_running), now)
        model.observe_ttft(ttft_s, tokens, live.num_running)
    if num_steps >= _MIN_DECODE_TOKENS:
        replica.compared_decode.observe(decode_s, num_steps * model.step_time_s(running), now)
        model.observe_decode(decode_s / num_steps, running)
