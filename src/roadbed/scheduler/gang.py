"""Where a whole gang goes, planned in one step: all of its processes or none."""

from typing import Protocol

from roadbed.scheduler.base import Funnel, Gang, Placement


class Planner(Protocol):
    """Plans gangs on one state. Never takes: `state.take_all(placement, gang.shape)` does. Deterministic."""

    def plan(self, gang: Gang, num: int | None = None) -> Placement | None:
        """Slots for `num` processes (None: gang.num) in rank order, or None when they do not all fit now."""
        ...

    def possible(self, gang: Gang) -> bool:
        """Would it fit if every schedulable node were empty?"""
        ...

    def funnel(self, gang: Gang) -> Funnel:
        """Why plan() says None now: constraints in order with what each leaves over."""
        ...
