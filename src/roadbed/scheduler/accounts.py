"""The accounts of all quotas: who may use how much now, who is first, who may take back from whom.

A quota's use is what its jobs hold, summed up the tree. A request is admitted while every quota on its path stays
below its max and everybody else's promises can still be kept: what another quota does not lend is left alone, and work
that can't be preempted never eats into a guarantee. Above its guarantee a quota borrows; who has least of its fair
share goes first. Past use (with a half-life) moves a quota in that order, never what it may use.

Who may take back from whom is one relation, `may_stop`, and it has no cycles (docs/design/scheduler.md):

    share(q) = max_r (used_r − min_r)⁺ / capacity_r ÷ weight, r over what the request needs   (Kueue, KEP-1714)
    a takes from b only if share(b) > 0, and share(a with the request) is 0
                                             or, where fairness may preempt, at most share(b without what it loses)

Apart from quota.py so that it can be compiled (scripts/compile.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from roadbed.scheduler.quota import (
    CPU,
    GPU,
    NO_LIMIT,
    QUOTA_GUARANTEE,
    QUOTA_LENT,
    QUOTA_MAX,
    QUOTA_UNKNOWN,
    Quota,
    Standing,
    Vector,
    check_quotas,
)


class _Node:
    __slots__ = (
        "children", "decayed", "decayed_at_s", "fixed", "kept", "max", "min", "parent", "path", "quota", "used",
        "wanted",
    )  # fmt: skip

    def __init__(self, quota: Quota, names: Sequence[str]) -> None:
        self.quota = quota
        self.parent: _Node | None = None
        self.children: list[_Node] = []
        self.path: tuple[_Node, ...] = ()  # from the top down to itself
        low = dict(quota.min)
        low[GPU] = max(low.get(GPU, 0), sum(amount for name, amount in low.items() if name not in (GPU, CPU)))
        self.min = [low.get(name, 0) for name in names]
        self.max = [quota.max.get(name, NO_LIMIT) for name in names]
        self.used = [0] * len(names)
        self.fixed = [0] * len(names)  # of `used`, what can't be preempted
        self.wanted = [0] * len(names)  # waiting requests
        self.kept = list(self.min) if not quota.lending else [0] * len(names)  # of the guarantee, what is not lent now
        self.decayed = 0.0
        self.decayed_at_s = 0.0


class _Siblings:
    """Quotas that divide one total, and what does not change of them. mins, maxs: by resource, then by quota."""

    __slots__ = ("lending", "maxs", "mins", "nodes", "weights")

    def __init__(self, nodes: Sequence[_Node]) -> None:
        self.nodes = nodes
        self.mins = [list(column) for column in zip(*(node.min for node in nodes), strict=True)]
        self.maxs = [list(column) for column in zip(*(node.max for node in nodes), strict=True)]
        self.weights = [node.quota.weight for node in nodes]
        self.lending = [node.quota.lending for node in nodes]


class QuotaTree:
    """The accounts of all quotas. Pure bookkeeping: who calls `charge` says what really runs.

    capacity: thousandths by resource of what the cluster has now. Raises UsageError for a broken tree.
    """

    def __init__(self, quotas: Sequence[Quota], capacity: Mapping[str, int]) -> None:
        check_quotas(quotas)
        chips = {name for quota in quotas for name in (*quota.min, *quota.max)} - {GPU, CPU}
        self.names: tuple[str, ...] = (GPU, CPU, *sorted(chips))
        self.chip_at = {name: at for at, name in enumerate(self.names) if at > 1}
        self.nodes = {quota.name: _Node(quota, self.names) for quota in quotas}
        for node in self.nodes.values():
            if node.quota.parent:
                node.parent = self.nodes[node.quota.parent]
                node.parent.children.append(node)
        for node in self.nodes.values():
            path = [node]
            while path[-1].parent is not None:
                path.append(path[-1].parent)
            node.path = tuple(reversed(path))
        self.roots = [node for node in self.nodes.values() if node.parent is None]
        # Borrowing is measured in accelerators and in whatever somebody is guaranteed.
        self.counted = [at for at in range(len(self.names)) if at == 0 or any(n.min[at] for n in self.nodes.values())]
        self.any_may_stop = any(quota.preempt_siblings or quota.preempt_children for quota in quotas)
        self.keeps = any(any(node.kept) for node in self.nodes.values())
        self.used = [0] * len(self.names)
        self.capacity: list[int] = []
        self.resize(capacity)
        self._top = _Siblings(self.roots)
        self._below = {node.quota.name: _Siblings(node.children) for node in self.nodes.values() if node.children}
        self._decays = any(quota.half_life_s > 0.0 for quota in quotas)

    def resize(self, capacity: Mapping[str, int]) -> None:
        """The cluster has grown or shrunk."""
        self.capacity = [capacity.get(name, 0) for name in self.names]
        self._fair: dict[str, list[int]] = {}
        self._fair_for: list[int] = []  # what was used and wanted, quota by quota, when that was worked out
        self._moved = True  # something was used or wanted since
        self._orders: dict[str, tuple[float, ...]] = {}  # keys that hold still

    def inherit(self, before: "QuotaTree", now: float) -> None:
        """Takes over the past use of the quotas that were there before."""
        for name, node in self.nodes.items():
            old = before.nodes.get(name)
            if old is not None:
                node.decayed, node.decayed_at_s = old.decayed, old.decayed_at_s if before._decays else now

    def is_leaf(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is not None and not node.children

    def vector(self, gpu: int, cpu: int, by_chip: Mapping[str, int]) -> Vector:
        """An amount as the tree counts it; chips no quota names are counted as gpu alone."""
        return (gpu, cpu, *(by_chip.get(name, 0) for name in self.names[2:]))

    def charge(self, name: str, amount: Vector, preemptible: bool, sign: int, now: float) -> None:
        """Adds (1) or takes away (-1) what a job uses."""
        node = self.nodes.get(name)
        if self._decays and node is not None:
            for part in node.path:
                self._decay(part, now)
        self.shift(name, amount, preemptible, sign)

    def shift(self, name: str, amount: Vector, preemptible: bool, sign: int) -> None:
        """As `charge`, within a what-if that is shifted back: past use is left alone."""
        self._forget(name)
        node = self.nodes.get(name)
        for at, each in enumerate(amount):
            self.used[at] += sign * each
        for part in node.path if node else ():
            for at, each in enumerate(amount):
                part.used[at] += sign * each
                if not preemptible:
                    part.fixed[at] += sign * each

    def want(self, name: str, amount: Vector, sign: int) -> None:
        """Adds or takes away a waiting request."""
        self._moved = True
        node = self.nodes.get(name)
        for part in node.path if node else ():
            for at, each in enumerate(amount):
                part.wanted[at] += sign * each

    def keep(self, name: str, resource: str, amount: int) -> bool:
        """Lends no more of a guarantee than what is above `amount`. True if that changed anything."""
        node = self.nodes.get(name)
        if node is None or resource not in self.names:
            return False
        at = self.names.index(resource)
        kept = min(amount, node.min[at]) if node.quota.lending else node.min[at]
        changed = node.kept[at] != kept
        node.kept[at] = kept
        self.keeps = any(any(each.kept) for each in self.nodes.values())
        return changed

    def refusal(self, name: str, amount: Vector, preemptible: bool) -> str:
        """Why the quotas do not admit a request now, "" if they do. O(depth + top-level quotas)."""
        mine = self.nodes.get(name)
        if mine is None:
            return QUOTA_UNKNOWN
        path = mine.path
        for node in path:
            if any(each and used + each > most for used, each, most in zip(node.used, amount, node.max, strict=True)):
                return QUOTA_MAX
        for at, each in enumerate(amount):
            if not each:
                continue
            kept = sum(_kept(root, at, path) for root in self.roots) if self.keeps else 0
            if kept and self.used[at] + each > self.capacity[at] - kept:
                return QUOTA_LENT
            if not preemptible and self._breaks_guarantee(path, at, each):
                return QUOTA_GUARANTEE
        return ""

    def never(self, name: str, amount: Vector) -> str:
        """The quota on the path whose max is smaller than the request alone; "" if there is none."""
        for node in self.nodes[name].path:
            if any(each > most for each, most in zip(amount, node.max, strict=True)):
                return node.quota.name
        return ""

    def chips_with_room(self, name: str, amount: int, chips: Iterable[str]) -> tuple[str, ...]:
        """Those of the chips of which `amount` more thousandths are below every max on the path."""
        path = self.nodes[name].path
        return tuple(
            chip
            for chip in chips
            if (at := self.chip_at.get(chip)) is None or all(part.used[at] + amount <= part.max[at] for part in path)
        )

    def within_guarantee(self, name: str, amount: Vector) -> bool:
        """Would every quota on the path stay within its guarantee?"""
        return all(self._share(node, amount, amount) == 0.0 for node in self.nodes[name].path)

    def borrows(self, name: str) -> bool:
        """Is the quota, or one above it, over its guarantee?"""
        node = self.nodes.get(name)
        zero, all_of_it = (0,) * len(self.names), (1,) * len(self.names)
        return node is None or any(self._share(part, zero, all_of_it) > 0.0 for part in node.path)

    def may_stop(
        self,
        mine: str,
        amount: Vector,
        theirs: str,
        *,
        higher: bool,
        taken: Vector | None = None,
        losing: Vector | None = None,
        fair: bool = False,
    ) -> bool:
        """May work waiting in `mine` stop work in `theirs`, another quota? higher: it has the higher priority.
        taken: what it takes from `theirs` already. losing: what `theirs` would lose with this piece (None: not known
        yet). fair: fairness above guarantees may preempt."""
        zero = (0,) * len(self.names)
        a, b = self.nodes.get(mine), self.nodes.get(theirs)
        if a is None:
            return False
        if b is None:  # work of a quota that is gone is nobody's guarantee
            return True
        level = 0
        while level < min(len(a.path), len(b.path)) and a.path[level] is b.path[level]:
            level += 1
        here, there = a.path[level], b.path[level]
        gone = tuple(-each for each in taken) if taken else zero
        share_there = self._share(there, gone, amount)
        if share_there <= 0.0:
            return False
        share_here = self._share(here, amount, amount)
        if share_here == 0.0:
            return here.quota.preempt_siblings
        if any(part.quota.preempt_children for part in a.path[:level]):
            return higher
        left = tuple(each - less for each, less in zip(gone, losing or zero, strict=True))
        return fair and here.quota.preempt_siblings and share_here <= self._share(there, left, amount)

    def may_stop_any(self, mine: str, amount: Vector, *, fair: bool = False) -> bool:
        """Is there a quota, as far as `mine` alone tells, whose work `may_stop` could let it stop? O(depth)."""
        if mine not in self.nodes:
            return False
        path = self.nodes[mine].path
        if any(part.quota.preempt_children for part in path[:-1]):
            return True
        return any(part.quota.preempt_siblings and (fair or not self._share(part, amount, amount)) for part in path)

    def order(self, name: str, now: float) -> tuple[float, ...]:
        """Sort key of a quota, first is served first: level by level (within guarantee, within fair share, above),
        then how much of it is used, past use included."""
        fair = self.fair()
        known = self._orders.get(name)
        if known is not None:
            return known
        key: list[float] = []
        for node in self.nodes[name].path:
            key.extend(self._rank(node, fair[node.quota.name], now))
        found = tuple(key)
        if not self._decays:
            self._orders[name] = found
        return found

    def fair(self) -> dict[str, list[int]]:
        """What each quota would have now if every one took its share: guarantees first, the rest by weight."""
        if self._moved:
            self._moved = False
            asked = [
                used + more for node in self.nodes.values() for used, more in zip(node.used, node.wanted, strict=True)
            ]
            if asked != self._fair_for:  # a start only turns what was wanted into what is used
                self._fair, self._fair_for = {}, asked
                self._orders.clear()
                self._divide(self._top, self.capacity)
        return self._fair

    def standing(self, name: str) -> Standing:
        """How a quota stands now; resources nobody limits and nobody uses are left out."""
        node = self.nodes[name]
        named = list(enumerate(self.names))
        return Standing(
            quota=name,
            used={r: node.used[at] for at, r in named if node.used[at]},
            waiting={r: node.wanted[at] for at, r in named if node.wanted[at]},
            min={r: node.min[at] for at, r in named if node.min[at]},
            max={r: node.max[at] for at, r in named if node.max[at] != NO_LIMIT},
            fair={r: self.fair()[name][at] for at, r in named if self.capacity[at]},
            borrowing=self.borrows(name),
        )

    def _forget(self, name: str) -> None:
        """What the quota uses changes: its place in the order, and that of all who share a path with it."""
        self._moved = True
        node = self.nodes.get(name)
        if node is None or node.parent is None:
            self._orders.pop(name, None)
        else:
            self._orders.clear()

    def _share(self, node: _Node, more: Vector, needed: Vector) -> float:
        """How much the quota would borrow of the needed resources with `more`, dominant share by weight."""
        worst = 0.0
        for at in self.counted:
            over = node.used[at] + more[at] - node.min[at]
            if needed[at] and over > 0:
                worst = max(worst, over / self.capacity[at] if self.capacity[at] else math.inf)
        return worst / node.quota.weight

    def _breaks_guarantee(self, path: Sequence[_Node], at: int, each: int) -> bool:
        """Would work that can't be preempted take what others are guaranteed? At the top, and below each ceiling."""
        for level, node in enumerate(path):
            siblings = self.roots if level == 0 else path[level - 1].children
            room = self.capacity[at] if level == 0 else path[level - 1].max[at]
            others = sum(max(other.min[at], other.fixed[at]) for other in siblings if other is not node)
            promised = others > sum(other.fixed[at] for other in siblings if other is not node)
            if promised and node.fixed[at] + each > max(node.min[at], room - others):
                return True
        return False

    def _rank(self, node: _Node, fair: list[int], now: float) -> tuple[float, float]:
        if self._decays:
            self._decay(node, now)
        level, ratio = 0.0, 0.0
        for used, low, share in zip(node.used, node.min, fair, strict=True):
            if not used:
                continue
            if used < low:
                ratio = max(ratio, used / low)
            else:
                level = max(level, 1.0 if used < share else 2.0)
                ratio = max(ratio, used / share if share else float(used))
        return level, ratio + node.decayed / node.quota.weight

    def _decay(self, node: _Node, now: float) -> None:
        half = node.quota.half_life_s
        if half > 0.0 and now > node.decayed_at_s:
            keep = 0.5 ** ((now - node.decayed_at_s) / half)
            share = node.used[0] / self.capacity[0] if self.capacity[0] else 0.0
            node.decayed = node.decayed * keep + share * (1.0 - keep)
        node.decayed_at_s = max(node.decayed_at_s, now)

    def _divide(self, among: "_Siblings", total: Sequence[int]) -> None:
        nodes, parts = among.nodes, []
        for at, mins in enumerate(among.mins):
            asked = [node.used[at] + node.wanted[at] for node in nodes]
            if any(asked) or any(mins):
                parts.append(divide(total[at], mins, among.maxs[at], asked, among.weights, among.lending))
            else:  # nobody is promised any, nobody asks for any
                parts.append(asked)
        for index, node in enumerate(nodes):
            name = node.quota.name
            mine = self._fair[name] = [part[index] for part in parts]
            if node.children:
                self._divide(self._below[name], mine)


def divide(
    total: int,
    mins: Sequence[int],
    maxs: Sequence[int],
    requests: Sequence[int],
    weights: Sequence[float],
    lending: Sequence[bool],
) -> list[int]:
    """Runtime quota after Koordinator: everybody gets min(request, min) (all of min if it lends nothing), scaled down
    where the guarantees exceed the total; the rest goes by weight to those that ask for more, up to max. The parts sum
    to at most `total`, and fall short of it only when nobody asks for more (and by rounding, < 1 per quota and round).
    """
    ceilings = [most if request > most else max(request, 0) for most, request in zip(maxs, requests, strict=True)]
    part = [top if lends and top < low else low for low, top, lends in zip(mins, ceilings, lending, strict=True)]
    promised = sum(part)
    if promised > total:
        return [each * total // promised for each in part]
    rest = total - promised
    hungry = [at for at, top in enumerate(ceilings) if top > part[at]]
    while rest > 0 and hungry:
        weight = sum(weights[at] for at in hungry)
        given = 0
        for at in hungry:
            more, room = int(rest * weights[at] / weight), ceilings[at] - part[at]
            more = min(more, room)
            part[at] += more
            given += more
        rest -= given
        still = [at for at in hungry if ceilings[at] > part[at]]
        if len(still) == len(hungry) or not given:
            break
        hungry = still
    return part


def _kept(node: _Node, at: int, path: Sequence[_Node]) -> int:
    """What the subtree does not lend to a quota elsewhere; a quota on the asking path keeps nothing from itself."""
    inner = sum(_kept(child, at, path) for child in node.children)
    own = 0 if node in path else max(0, node.kept[at] - node.used[at])
    return max(own, inner)
