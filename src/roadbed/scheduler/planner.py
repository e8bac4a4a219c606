"""Plans a whole gang on the topology tree in one step.

The room of every domain is summed bottom-up (slices rounding down where they must stay whole), domains are tried from
the narrowest tier the gang would like to the widest it accepts, and the chosen one is filled top-down, fullest child
first with a best fit for the rest. Kueue's topology-aware scheduling does the same (KEP-2724, BestFit) and is here as
the rule "tas". Ours differs in which of several domains it takes: the one whose free capacity loses least value for the
gangs that are expected (domains.py), so that small jobs gather where nothing large could run any more.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from roadbed.scheduler.base import Funnel, Gang, Placement, Shape, Slot
from roadbed.scheduler.domains import DomainValue
from roadbed.scheduler.funnel import funnel
from roadbed.scheduler.placement import Placer
from roadbed.scheduler.policies.base import Ask, Policy
from roadbed.scheduler.room import ONE_ISLAND, Inner, pick, room
from roadbed.scheduler.state import Ints, State
from roadbed.scheduler.tree import CLUSTER, ISLAND, SEGMENT, SERVER, TIERS, Tree

Rule = Literal["value", "tas", "each"]
_MAX_ROOMS = 1024


class _Room:
    __slots__ = ("ask", "num", "position")

    def __init__(self, ask: Ask, num_nodes: int) -> None:
        self.ask = ask
        self.num = np.zeros(num_nodes, np.int64)
        self.position = -1


class TreePlanner:
    """rule "value": ours. "tas": Kueue's. "each": one process after another by the policy alone, blind to topology
    except where it is required."""

    def __init__(self, state: State, policy: Policy, rule: Rule = "value", value: DomainValue | None = None) -> None:
        self.state = state
        self.placer = Placer(state, policy)
        self.tree = Tree(state.nodes)
        self.inner = Inner(state)
        self.rule: Rule = rule
        self.value = value or DomainValue(self.tree, (), state.num_devices)
        self._rooms: dict[tuple[Shape, int], _Room] = {}
        self._all = np.arange(state.num_nodes, dtype=np.int64)

    def plan(self, gang: Gang, num: int | None = None) -> Placement | None:
        """Slots in rank order, or None. Changes nothing. O(nodes) in numpy; one process: O(nodes changed)."""
        count = gang.num if num is None else num
        if count <= 0 or not self.state.num_nodes or self.state.lacks_devices(gang.shape, count):
            return None
        unit = units(gang)
        if unit and any(count % size for size in unit.values()):
            return None
        if count == 1 and "island" not in (gang.topology.required, gang.topology.preferred):
            slot = self._one(gang.shape)
            return Placement((slot,)) if slot else None
        if self.rule == "each" and gang.topology.required is None and not unit:
            return self._each(gang, count, None)
        for tier, together in self._attempts(gang):
            amounts = self._bubble(self.rooms(gang.shape, together), tier, unit)
            for domain in self._candidates(gang, count, tier, amounts[tier]):
                placement = self._inside(gang, count, tier, domain, amounts, together)
                if placement:
                    return placement
        return None

    def possible(self, gang: Gang) -> bool:
        """Would its smallest size fit if nothing ran on any schedulable node?"""
        unit = units(gang)
        ask = Ask(self.state, gang.shape)
        for tier, together in self._attempts(gang)[::-1]:
            num = room(self.state, ask, self._all, self.inner, together, empty=True)
            if int(self._bubble(num, tier, unit)[tier].max(initial=0)) >= gang.num:
                return True
        return False

    def funnel(self, gang: Gang) -> Funnel:
        """Why plan() says None: the constraints in order, with what each leaves over."""
        tier, together = self._attempts(gang)[-1]
        amounts = self._bubble(self.rooms(gang.shape, together), tier, units(gang))
        return funnel(self.state, gang, amounts[tier], tier)

    def rooms(self, shape: Shape, together: int = 0) -> Ints:
        """Processes each node has room for now. int64[N], owned by the cache: read only."""
        key = (shape, together)
        entry = self._rooms.get(key)
        if entry is None:
            entry = self._rooms[key] = _Room(Ask(self.state, shape), self.state.num_nodes)
            if len(self._rooms) > _MAX_ROOMS:
                self._rooms.pop(next(iter(self._rooms)))
        nodes, entry.position = self.state.changed_since(entry.position)
        if nodes is None:
            nodes = self._all
        if len(nodes):
            entry.num[nodes] = room(self.state, entry.ask, nodes, self.inner, together)
        return entry.num

    def _one(self, shape: Shape) -> Slot | None:
        """One process: the policy's best node; among its equals the one in the domain worth least."""
        placer = self.placer
        if self.rule != "value" or self.tree.flat:
            return placer.best(shape)
        score = placer.scores(shape)
        best = int(score.max(initial=-1))
        if best < 0:
            return None
        equal = np.flatnonzero(score == best)
        node = int(equal[0]) if len(equal) == 1 else self.value.cheapest(self.state, equal, max(1, shape.num_devices))
        return placer.slot(shape, node)

    def _attempts(self, gang: Gang) -> list[tuple[int, int]]:
        """(tier, together) to try in order: narrowest tier first, from the preferred (else the narrowest there is) to
        the required one; whole inner islands first where a server is split into several."""
        topology = gang.topology
        last = TIERS[topology.required] if topology.required else CLUSTER
        first = TIERS[topology.preferred] if topology.preferred else SERVER
        if gang.mode == "spread" or (self.rule == "tas" and not topology.preferred):
            first = last
        tiers = [tier for tier in range(min(first, last), last + 1) if tier == last or self.tree.num[tier] > 1]
        if self.inner.width == 1 or not gang.shape.num_devices:
            return [(tier, 0) for tier in tiers]
        if topology.required == "island":
            return [(tier, ONE_ISLAND) for tier in tiers]
        for each, level in topology.slices:
            if level == "island":
                return [(tier, each // gang.shape.num_devices) for tier in tiers]
        loose = [(tier, together) for together in (1, 0) for tier in tiers]
        return [(ISLAND, ONE_ISLAND), *loose] if topology.preferred == "island" else loose

    def _bubble(self, num: Ints, widest: int, unit: dict[int, int]) -> list[Ints]:
        """Processes each domain hosts, per tier up to the widest, slices kept whole."""
        amounts = [_whole(num, unit.get(SERVER, 1))]
        for tier in range(widest):
            amounts.append(_whole(self.tree.up(tier, amounts[tier]), unit.get(tier + 1, 1)))
        return amounts

    def _candidates(self, gang: Gang, count: int, tier: int, amount: Ints) -> Iterator[int]:
        """Domains of a tier that host all processes, best first."""
        fitting = np.flatnonzero(amount >= count)
        if not len(fitting):
            return
        if self.rule == "value":
            need = count * max(1, gang.shape.num_devices)
            order = self.value.order(self.state, tier, fitting, amount[fitting], need)
        else:
            order = np.argsort(amount[fitting], kind="stable")
        # The sums may promise what one node's devices cannot keep; a few more tries, not the whole list.
        yield from fitting[order[:8]].tolist()

    def _inside(
        self, gang: Gang, count: int, tier: int, domain: int, amounts: list[Ints], together: int
    ) -> Placement | None:
        """All processes inside one domain, or None where its devices cannot keep what the sums promise."""
        members = self.tree.members[tier][domain]
        if self.rule == "each":
            return self._each(gang, count, members)
        if gang.mode == "spread":
            shares = round_robin(self.tree, members, amounts[SERVER], count)
        else:
            shares = list(self._descend(tier, domain, count, amounts))
        slots: list[Slot] = []
        for node, num in shares:
            picked = pick(self.state, gang.shape, node, num, self.inner, together)
            slots += [Slot(node, devices) for devices in picked]
        return Placement(tuple(slots)) if len(slots) == count else None

    def _descend(self, tier: int, domain: int, count: int, amounts: list[Ints]) -> Iterator[tuple[int, int]]:
        """(node, processes) of a domain's subtree, in tree order: the ranks of a subtree are contiguous.

        Amounts of a tier with slices are whole slices, and so is the count: no slice is ever cut."""
        if tier == SERVER:
            yield domain, count
            return
        children = self.tree.children[tier][domain]
        for child, num in share_out(amounts[tier - 1][children], count):
            yield from self._descend(tier - 1, int(children[child]), num, amounts)

    def _each(self, gang: Gang, count: int, nodes: Ints | None) -> Placement | None:
        """One process after another, each where the policy says, inside `nodes` if given."""
        state = self.state
        mark = state.mark()
        slots: list[Slot] = []
        try:
            for _ in range(count):
                slot = self.placer.best(gang.shape, nodes)
                if slot is None:
                    return None
                state.take(slot, gang.shape)
                slots.append(slot)
        finally:
            state.undo(mark)
        return Placement(tuple(slots))


def share_out(have: Ints, count: int) -> Iterator[tuple[int, int]]:
    """Shares `count` over children that have room for `have`: the roomiest first, the rest where it fits best.

    Yields (index, number) in index order. All but one give all they have, so the fewest children are used."""
    fitting = np.flatnonzero(have >= count)
    if len(fitting):
        yield int(fitting[np.argmin(have[fitting])]), count
        return
    order = np.argsort(-have, kind="stable")
    total = np.cumsum(have[order])
    full = int(np.searchsorted(total, count, side="right"))  # children before this one are used up
    rest = count - (int(total[full - 1]) if full else 0)
    chosen = [(int(at), int(have[at])) for at in order[:full]]
    if rest:
        left = order[full:]
        enough = left[have[left] >= rest]
        chosen.append((int(enough[np.argmin(have[enough])]), rest))
    yield from sorted(chosen)


def round_robin(tree: Tree, nodes: Ints, num: Ints, count: int) -> list[tuple[int, int]]:
    """(node, processes) in node order: one each over the emptiest nodes, segments in turn, then a second round."""
    seen: dict[int, int] = {}
    turns: list[tuple[int, int]] = []
    for node in nodes[np.argsort(-num[nodes], kind="stable")].tolist():
        segment = int(tree.of[SEGMENT][node])
        seen[segment] = seen.get(segment, 0) + 1
        turns.append((seen[segment], node))
    line = [node for _, node in sorted(turns, key=lambda turn: turn[0])]
    chosen: dict[int, int] = {}
    left = count
    while left:
        before = left
        for node in line:
            if left and chosen.get(node, 0) < num[node]:
                chosen[node] = chosen.get(node, 0) + 1
                left -= 1
        if left == before:
            break
    return sorted(chosen.items())


def units(gang: Gang) -> dict[int, int]:
    """Processes that must stay together, by tier. ValueError when a slice is not made of whole processes."""
    per_process = max(1, gang.shape.num_devices)
    unit: dict[int, int] = {}
    for each, level in gang.topology.slices:
        if each <= 0 or each % per_process:
            raise ValueError(f"a slice of {each} devices is not a whole number of processes of {per_process}")
        unit[TIERS[level]] = each // per_process
    return unit


def _whole(amounts: Ints, unit: int) -> Ints:
    return amounts if unit <= 1 else amounts // unit * unit
