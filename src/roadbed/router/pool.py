"""The replicas of one service: who is there, who may get work, and what each has in flight.

Owns the prefix index because a replica's bit lives as long as the replica does. A replica that left stays known until
the last request this worker sent it has ended, so its account is released to zero.
"""

from collections.abc import Collection, Sequence

from roadbed.router.account import AccountView
from roadbed.router.base import Features, ReplicaInfo
from roadbed.router.estimate import ReplicaModel
from roadbed.router.prefix import PrefixIndex
from roadbed.router.replica import Replica

_MAX_BLOCKS = 1_000_000
"""Per replica, whatever KV capacity it claims."""


class Pool:
    """Mutable; owned by RouterCore."""

    def __init__(self, account: AccountView, typical: ReplicaModel | None = None, bounded: bool = True) -> None:
        """`typical`: the costs a new replica starts from. bounded: replicas take no more than they have room for."""
        self._bounded = bounded
        self.account = account
        self.typical = typical
        """The service's costs: those of its first kind of replica, while there are any of it."""
        self._kinds: dict[str, ReplicaModel] = {}
        """Costs by kind of replica."""
        self.prefix = PrefixIndex()
        self.by_slot: dict[int, Replica] = {}
        self.present: list[Replica] = []
        """In slot order, draining ones included."""
        self._open: list[Replica] = []
        """Those that may get new requests now."""
        self._slots: list[int] = []
        self._num_suspects = 0
        self._least_window = 0
        """The shortest context window among those known, 0 = none is."""

    def set(self, replicas: Sequence[ReplicaInfo], block_tokens: float, now: float) -> None:
        """Makes `replicas` the ones there are; block_tokens turns KV capacity into blocks."""
        wanted = {info.slot: info for info in replicas}
        for slot, replica in list(self.by_slot.items()):
            if replica.present and (slot not in wanted or wanted[slot].id != replica.info.id):
                self.prefix.remove_replica(replica.bit)
                replica.present = False
                replica.bit = -1
        for slot, info in wanted.items():
            capacity = min(_MAX_BLOCKS, int(info.kv_tokens / max(block_tokens, 1.0)))
            known = self.by_slot.get(slot)
            if known is not None and known.present:
                known.configure(info)
                self.prefix.set_capacity(known.bit, capacity)
                continue
            fresh = Replica(info, self.prefix.add_replica(capacity), self._typical_of(info.kind))
            if known is not None:
                fresh.charge(known.own_prefill, known.own_context, known.own_decode, known.own_requests)
                fresh.num_unanswered, fresh.active = known.num_unanswered, known.active
            self.by_slot[slot] = fresh
        for slot, replica in list(self.by_slot.items()):
            self._forget_if_idle(slot, replica)
        self._forget_kinds(frozenset(info.kind for info in replicas))
        self.present = sorted((r for r in self.by_slot.values() if r.present), key=lambda replica: replica.slot)
        self._slots = [replica.slot for replica in self.present]
        self._least_window = min((i.context_tokens for i in replicas if i.context_tokens > 0), default=0)
        self._reopen(now)

    def _typical_of(self, kind: str) -> ReplicaModel | None:
        """The costs that replicas of a kind share. A new kind starts from what is known of the first."""
        first = self.typical
        if first is None:
            return None
        known = self._kinds.get(kind)
        if known is None:
            known = first if not self._kinds else ReplicaModel()
            if known is not first:
                known.start_from(first)
            self._kinds[kind] = known
        return known

    def _forget_kinds(self, kinds: frozenset[str]) -> None:
        """Keeps what is known of these alone; a service without replicas forgets nothing."""
        self._kinds = {kind: model for kind, model in self._kinds.items() if kind in kinds or not kinds}
        if self._kinds and not any(model is self.typical for model in self._kinds.values()):
            self.typical = next(iter(self._kinds.values()))

    def is_choosy(self, features: Features) -> bool:
        """Whether there may be replicas that could never answer it. Seldom, so the rest is spared the question."""
        if features.adapter or features.model:
            return True
        return 0 < self._least_window < features.prompt_tokens

    def any_capable(self, features: Features) -> bool:
        """Whether some replica could ever answer it; True while there are none at all."""
        return not self.present or any(replica.serves(features) for replica in self.present)

    def candidates(
        self, context_tokens: int, tried: Collection[int], ready_at: float = -1.0, features: Features | None = None
    ) -> list[Replica]:
        """Open replicas with room for so many KV tokens more, not in `tried`, in slot order; loads up to date.
        ready_at: a time at which they must be ready for another prompt, −1 = they need not. features: only those who
        can answer it, None = all can."""
        able = self._with_room(context_tokens, tried, ready_at)
        return able if features is None else [replica for replica in able if replica.serves(features)]

    def _with_room(self, context_tokens: int, tried: Collection[int], ready_at: float) -> list[Replica]:
        self.refresh()
        if not self._bounded:
            return [replica for replica in self._open if replica.slot not in tried]
        return [
            replica
            for replica in self._open
            if (running := replica.num_running) < replica.limit
            and (replica.context + context_tokens <= replica.room_tokens or not running)
            and replica.slot not in tried
            and (ready_at < 0.0 or replica.is_ready(ready_at))
        ]

    def full(
        self, candidates: Sequence[Replica], tried: Collection[int], features: Features | None = None
    ) -> list[Replica]:
        """Open replicas that are no candidates only for want of room; call after `candidates`, with its features."""
        if len(candidates) == len(self._open):
            return []
        able = {replica.slot for replica in candidates}
        full = [r for r in self._open if r.slot not in able and r.slot not in tried]
        return full if features is None else [replica for replica in full if replica.serves(features)]

    def has_room(self) -> bool:
        """Whether any open replica is below its limit."""
        self.refresh()
        return any(replica.num_running < replica.limit or not self._bounded for replica in self._open)

    @property
    def is_staffed(self) -> bool:
        """Whether any replica is there to stay, busy or suspect."""
        return any(not replica.info.draining for replica in self.present)

    def free_mask(self) -> int:
        """Prefix bits of the open replicas below their limit."""
        mask = 0
        for replica in self._open:
            if replica.num_running < replica.limit:
                mask |= 1 << replica.bit
        return mask

    def any_untried(self, tried: Collection[int], features: Features | None = None) -> bool:
        """Whether some replica, busy or suspect, could still take a request that failed on `tried`."""
        return any(
            replica.slot not in tried and not replica.info.draining and (features is None or replica.serves(features))
            for replica in self.present
        )

    def refresh(self) -> None:
        """Adds the other workers' rows to ours; nothing to do when there are no others."""
        others = self.account.others(self._slots)
        if others is not None:
            for replica, row in zip(self.present, others, strict=True):
                replica.refresh(row)

    def charge(self, replica: Replica, prefill: int, context: int, decode: int, requests: int) -> None:
        """Adds to (negative: releases from) the account of a replica, in one write."""
        replica.charge(prefill, context, decode, requests)
        self.account.write(
            replica.slot, replica.own_requests, replica.own_prefill, replica.own_context, replica.own_decode
        )
        if requests < 0:
            self._forget_if_idle(replica.slot, replica)

    def suspect(self, slot: int, now: float) -> None:
        """The replica failed: closed for a moment; failing again before it answered, its cache is taken for lost."""
        replica = self.by_slot.get(slot)
        if replica is None or not replica.present:
            return
        if replica.backoff_s:
            self.prefix.clear(replica.bit)
        replica.suspect(now)
        self._reopen(now)

    def trust(self, replica: Replica, now: float) -> None:
        """The replica answered: open again."""
        replica.trust()
        self._reopen(now)

    def forgive(self, now: float) -> None:
        """Opens suspects whose time is over; costs of those that differ from their service follow it."""
        if self._num_suspects:
            self._reopen(now)
        for replica in self.present:
            if replica.model is not replica.typical:
                replica.compare(now)

    def _reopen(self, now: float) -> None:
        self._open = [r for r in self.present if not r.info.draining and r.suspect_until <= now]
        self._num_suspects = sum(1 for r in self.present if r.suspect_until > now)

    def _forget_if_idle(self, slot: int, replica: Replica) -> None:
        if not replica.present and not replica.own_requests and self.by_slot.get(slot) is replica:
            del self.by_slot[slot]
