"""Our policy: the replica on which this request costs everyone the fewest seconds.

    cost = w · (TTFT + own decoding) + prefill · (fresh + running / 7 + (waiting share + 3) · √(recent work / mean))
         + added TPOT · tokens still to come + blocks pushed out that will be wanted again + adapter to load

All in seconds, from what was learned per replica. Affinity is bounded by cost, not by a threshold: a cached prefix is
worth the prefill it saves, to this request, to those it would stall and to those yet to come, so a busy holder loses to
an idle stranger at the right moment and a cold request goes where it hurts least. The 3 is what a second of prefill
takes from requests yet to come (ρ / (1 − ρ) at three quarters of capacity): without it two equal prompts arriving
together would be computed twice for nothing, and a pool under load forgets its prefixes and stays loaded. It is more
where a replica had more of the work lately, by the root of its share, or the fast ones of a mixed pool would be sent
everything. A second for
which a stream is stalled counts in full while it is fresh: its reader waits for the second word as for the first, and a
short answer never makes it up. Later it has slack, and a seventh is what it loses. Priority is w: what this request's
seconds count against the others'. With a TTFT target, a replica predicted to miss it counts as half as dear again,
while another would meet it.

Not every choice is carried out at once. A replica that is full, or has a prompt to compute already, takes part with the
wait for it in its TTFT, and where an engine does not share a prefix that is still being computed, a request that needs
it is priced as if it came after. If such a replica is clearly the cheapest, the request is held for it instead of
computing elsewhere what is there already. What waits here can still be ordered, shortest first, and still
go elsewhere.
"""

import math
from collections.abc import Sequence

from roadbed.router.base import Features
from roadbed.router.policies.base import Choice, Context, slot_wait_s
from roadbed.router.replica import Replica

_FUTURE = 3.0
"""Seconds that a second of prefill costs requests yet to come."""
_LITTLE_S = 0.5
"""Of recent work, added to all: who had none is not infinitely cheap."""
_STALL = 0.15
"""What a second of prefill costs each stream it stalls: they fall behind by less than that, having slack."""
_STALL_FRESH = 1.0
"""The same of those that have just begun, or will have: no slack yet."""
_TOO_LATE = 1.5
"""A replica predicted to miss the TTFT target counts as so much dearer, while another would meet it."""
_TIE = 0.01
"""Costs this close (relative) are equal: noise in the coefficients must not herd requests."""
_HOLD = 1.15
"""A held request must be this much cheaper: the wait is a guess, a free place is a fact."""

Price = tuple[float, float, float, float]
"""Cost s, predicted TTFT s, harm to others s, matched tokens."""


class Roadbed:
    """The replica with the lowest cost; with a TTFT target, rather one that is predicted to meet it."""

    name = "roadbed"
    uses_prefix = True
    holds = True

    def choose(self, features: Features, candidates: Sequence[Replica], context: Context) -> Choice:
        priced = price(features, candidates, context)
        if len(priced) == 1:
            hold = _must_hold(candidates[0], context)
            return Choice(0, "hold" if hold else "only_one", priced[0][1], int(priced[0][3]), hold)
        reason = "least_cost"
        ranks = [cost for cost, _, _, _ in priced]
        slo_s = features.slo_ttft_s
        if slo_s is not None:
            reason = "slo"
            if any(ttft_s <= slo_s for _, ttft_s, _, _ in priced):
                ranks = [cost if ttft_s <= slo_s else _TOO_LATE * cost for cost, ttft_s, _, _ in priced]
        held = [_must_hold(replica, context) or i >= context.num_open for i, replica in enumerate(candidates)]
        ranks = [rank * _HOLD if hold else rank for rank, hold in zip(ranks, held, strict=True)]
        index = _pick(ranks, priced, candidates, context)
        _, ttft_s, _, matched = priced[index]
        if held[index]:
            return Choice(index, "hold", ttft_s, int(matched), hold=True)
        if reason == "least_cost" and matched:
            reason = "sticky" if candidates[index].slot == context.sticky_slot else "prefix"
        return Choice(index, reason, ttft_s, int(matched))


def _must_hold(replica: Replica, context: Context) -> bool:
    """What the request would find there is still being computed, and the engine would compute it again beside."""
    bit = replica.bit
    return context.computed_blocks[bit] < context.matched_blocks[bit] and not replica.own_model.shares_pending


def price(features: Features, candidates: Sequence[Replica], context: Context) -> list[Price]:
    """What sending the request to each candidate costs. Hot, so names are looked up once."""
    matched_blocks, prefix, sticky_slot = context.matched_blocks, context.prefix, context.sticky_slot
    prompt, output, block_tokens = features.prompt_tokens, features.output_tokens, features.block_tokens
    num_blocks, weight = len(features.blocks), _WEIGHTS[features.priority]
    lrus, capacities, now = prefix.lrus, prefix.capacities, context.now
    works = [replica.recent_s(now) for replica in candidates]
    waiting, mean_s = context.num_waiting / len(candidates), sum(works) / len(works) + _LITTLE_S
    prices: list[Price] = []
    for at, replica in enumerate(candidates):
        future = (waiting + _FUTURE) * math.sqrt((works[at] + _LITTLE_S) / mean_s)
        model, running, bit = replica.model, replica.num_running, replica.bit
        num_matched = matched_blocks[bit]
        matched = num_matched * block_tokens
        if replica.slot == sticky_slot and matched < context.sticky_tokens:
            matched = float(context.sticky_tokens)
        if matched >= prompt:
            matched = max(0.0, prompt - 1.0)
        prefill_s = model.prefill_s * (prompt - matched * replica.own_model.trust)
        ttft_s = (
            model.overhead_s
            + replica.backlog_s(now)
            + model.prefill_s * replica.held
            + prefill_s
            + model.crowd_s * running
        )
        if running >= replica.max_concurrency:
            ttft_s += slot_wait_s(replica, running + 1 - replica.max_concurrency)
        missing = replica.context + prompt + output - replica.room_tokens
        if missing > 0 and running:
            ttft_s += slot_wait_s(replica, 1 + missing * running // max(1, replica.context))

        # others: running streams stall while we prefill, then each of their steps is a little longer beside ours
        steps = running * output
        coming = replica.decode * 0.5
        harm_s = prefill_s * (
            _STALL_FRESH * replica.num_fresh(now) + _STALL * running + future
        ) + model.step_crowd_s * (coming if coming < steps else steps)
        num_new = num_blocks - num_matched
        if num_new > 0 and len(lrus[bit]) + num_new > capacities[bit]:
            harm_s += prefix.eviction_loss_blocks(bit, num_new, now) * block_tokens * model.prefill_s

        if features.adapter:  # loading it stops everybody there, as a prompt does
            load_s = replica.adapter_s(features)
            ttft_s += load_s
            harm_s += load_s * (_STALL * running + future)
        own_s = ttft_s + output * (model.step_s + model.step_crowd_s * (running + 1))
        prices.append((weight * own_s + harm_s, ttft_s, harm_s, matched))
    return prices


_WEIGHTS = [2.0 ** ((5 - priority) / 2) for priority in range(10)]
"""What a second of a request of this priority counts: 1 → 4, 5 → 1, 9 → ¼."""


def _pick(
    ranks: list[float],
    priced: list[Price],
    candidates: Sequence[Replica],
    context: Context,
) -> int:
    """The lowest rank; among near-ties the lowest TTFT, then the session's replica, then chance."""
    best = min(ranks)
    limit = best + _TIE * abs(best)
    near = [index for index, rank in enumerate(ranks) if rank <= limit]
    if len(near) == 1:
        return near[0]
    fastest = min(priced[index][1] for index in near) * (1.0 + _TIE)
    near = [index for index in near if priced[index][1] <= fastest]
    if len(near) == 1:
        return near[0]
    for index in near:
        if candidates[index].slot == context.sticky_slot:
            return index
    return context.rng.choice(near)
