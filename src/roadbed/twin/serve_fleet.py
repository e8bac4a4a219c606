"""Fleets as values: which chips there are in one pool, how many of each, and what an hour of one costs.

Written `h200-llama-3.1-8b-fp8:2@20,rtxpro6000-llama-3.1-8b:3@6`: profile, replicas and, after @, CNY per replica and
hour. A fleet is only words until `servers` turns it into step models and engine limits; the router is told nothing of
chips, because live it has to find out which replica is slow, too.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from roadbed.errors import RoadbedError, UsageError
from roadbed.profiles.profile import Profile, load

MOST_REPLICAS = 100_000
_EXAMPLE = "roadbed twin serve --fleet h200-llama-3.1-8b-fp8:2@20,rtxpro6000-llama-3.1-8b:3@6"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas of one kind. cost_per_hour: CNY of one; 0 = unknown."""

    profile: str
    num: int
    cost_per_hour: float = 0.0


Fleet = tuple[Group, ...]


def parse(text: str, default_cost: float = 0.0) -> Fleet:
    """A fleet as it is written; `default_cost` where a group has no @. UsageError naming the group that can't be."""
    found: list[Group] = []
    for part in (piece.strip() for piece in text.split(",")):
        head, at, price = part.rpartition("@") if "@" in part.rsplit(":", 1)[-1] else (part, "", "")
        profile, colon, count = head.rpartition(":")
        if not colon or not profile or not (count.isascii() and count.isdigit()) or len(count) > 9:
            raise _wrong(f"{part!r} is not PROFILE:REPLICAS or PROFILE:REPLICAS@CNY_PER_HOUR")
        if not 1 <= int(count) <= MOST_REPLICAS:
            raise _wrong(f"{part!r}: from 1 to {MOST_REPLICAS:,} replicas")
        if any(group.profile == profile for group in found):
            raise _wrong(f"{profile} is there twice; add the two counts up")
        found.append(Group(profile=profile, num=int(count), cost_per_hour=_price(part, price) if at else default_cost))
    return tuple(found)


def written(fleet: Sequence[Group]) -> str:
    """The fleet as it is written, without prices."""
    return ",".join(f"{group.profile}:{group.num}" for group in fleet)


def num_replicas(fleet: Sequence[Group]) -> int:
    return sum(group.num for group in fleet)


def hourly(fleet: Sequence[Group]) -> float:
    """CNY per hour of all of it; 0 where any price is unknown, as part of a bill is none."""
    costs = [group.num * group.cost_per_hour for group in fleet]
    return sum(costs) if all(costs) else 0.0


def labels(fleet: Sequence[Group]) -> list[str]:
    """Per replica, its profile."""
    return [group.profile for group in fleet for _ in range(group.num)]


def load_all(fleets: Sequence[Fleet]) -> dict[str, Profile]:
    """The profiles of all fleets by name. UsageError for one nobody knows."""
    found: dict[str, Profile] = {}
    for group in (group for fleet in fleets for group in fleet):
        try:
            found.setdefault(group.profile, load(group.profile))
        except RoadbedError as error:
            raise UsageError(f"--fleet: {error}", hint=error.hint, field="fleet") from error
    return found


def doubts(fleet: Sequence[Group], profiles: Mapping[str, Profile]) -> list[str]:
    """What to ask whoever wrote this fleet: a pool answers for one model."""
    models = list(dict.fromkeys(profiles[group.profile].model for group in fleet))
    return (
        [f"fleet {written(fleet)}: answers come from different models, {', '.join(models)}"] if len(models) > 1 else []
    )


def one_more(fleet: Fleet) -> list[tuple[str, Fleet]]:
    """(what changed, fleet) with one replica more of each kind in turn."""
    found = []
    for at, group in enumerate(fleet):
        grown = msgspec.structs.replace(group, num=group.num + 1)
        found.append((f"+1 {group.profile}", (*fleet[:at], grown, *fleet[at + 1 :])))
    return found


def _price(part: str, text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not (math.isfinite(price) and price >= 0.0):
        raise _wrong(f"{part!r}: {text!r} is no price")
    return price


def _wrong(what: str) -> UsageError:
    return UsageError(f"--fleet: {what}", hint=_EXAMPLE, field="fleet")
