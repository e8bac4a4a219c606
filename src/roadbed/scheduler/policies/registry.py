"""Policies by name: what a command line, a config and a bench call them.

A name stands for two rules: where one process goes (the policy) and how a gang is laid out on the topology tree (the
planner's rule). Baselines get the rule their own system has, so that a comparison is with them and not with a mixture:
node-level policies place one process after another, Kueue's walks the tree its way.
"""

import difflib
from collections.abc import Callable, Iterable

import numpy as np

from roadbed.errors import UsageError
from roadbed.scheduler.planner import Rule, TreePlanner
from roadbed.scheduler.policies.base import Policy
from roadbed.scheduler.policies.bestfit import BestFit, DotProd
from roadbed.scheduler.policies.fgd import Fgd
from roadbed.scheduler.policies.kube_tas import KubeTas
from roadbed.scheduler.policies.packing import Clustering, Packing
from roadbed.scheduler.policies.random import Random
from roadbed.scheduler.policies.roadbed import Roadbed
from roadbed.scheduler.state import State
from roadbed.scheduler.target import Target

_Maker = Callable[[State, Target, np.random.Generator], Policy]

_POLICIES: dict[str, tuple[_Maker, Rule]] = {
    "roadbed": (lambda state, target, rng: Roadbed(state, target), "value"),
    "fgd": (lambda state, target, rng: Fgd(state, target), "each"),
    "bestfit": (lambda state, target, rng: BestFit(), "each"),
    "dotprod": (lambda state, target, rng: DotProd(), "each"),
    "packing": (lambda state, target, rng: Packing(), "each"),
    "clustering": (lambda state, target, rng: Clustering(), "each"),
    "random": (lambda state, target, rng: Random(rng), "each"),
    "kube_tas": (lambda state, target, rng: KubeTas(), "tas"),
}
POLICY_NAMES: tuple[str, ...] = tuple(_POLICIES)


def check_policy(name: str, known: Iterable[str] = POLICY_NAMES) -> str:
    """The name itself; UsageError with a near miss where there is no such policy."""
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, 1)
    words = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(names)}"
    raise UsageError(f"there is no policy {name!r}{words}", hint="roadbed twin schedule --help", field="policy")


def make_policy(name: str, state: State, target: Target, rng: np.random.Generator) -> Policy:
    """The policy on one state. rng: only `random` draws from it. UsageError for an unknown name."""
    return _POLICIES[check_policy(name)][0](state, target, rng)


def make_planner(name: str, state: State, target: Target, rng: np.random.Generator) -> TreePlanner:
    """The policy with the gang rule that belongs to it, on one state. UsageError for an unknown name."""
    return TreePlanner(state, make_policy(name, state, target, rng), _POLICIES[name][1])
