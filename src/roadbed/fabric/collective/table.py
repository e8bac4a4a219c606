"""Collectives by size: the rows of `roadbed fabric collective`, in the columns of nccl-tests."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Health, Ints
from roadbed.fabric.collective.base import Op
from roadbed.fabric.collective.chooser import Menu, price_all
from roadbed.fabric.collective.run import PathOptions, busbw
from roadbed.fabric.layout import Order, Placement, by_rail

Grouping = Literal["all", "rail"]
GB = 1e9


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One size. Bandwidths are those of one collective of the slowest group."""

    fabric: str
    op: str
    algorithm: str
    gpus: int
    """Of one job, all its groups together."""
    ranks: int
    """Of one collective."""
    bytes: int
    concurrent: int
    groups: Grouping
    paths: str
    draws: int
    time_s: float
    """Mean over draws of hashed connections."""
    slowest_s: float
    """The unluckiest draw."""
    algbw_gbytes_s: float
    busbw_gbytes_s: float
    why: str


def default_paths(fabric: Fabric) -> PathOptions:
    """How the design is meant to be used: disjoint paths with two planes, spraying on Spectrum-X, else hashing."""
    if fabric.name == "spectrum_x":
        return PathOptions(policy="spray")
    if fabric.traits.rail_optimised:
        return PathOptions(policy="disjoint")
    return PathOptions(policy="ecmp", draws=max(1, min(4, 65_536 // max(fabric.num_gpus, 1))))


def default_placement(fabric: Fabric) -> Placement:
    """Where a design's jobs usually stand: packed where the design is made for it, else from anywhere."""
    return "packed" if fabric.traits.rail_optimised or fabric.traits.rail_only else "scattered"


def default_order(fabric: Fabric) -> Order:
    """Ranks by topology where placement is planned, else as the servers were given."""
    return "planned" if default_placement(fabric) == "packed" else "given"


def num_draws(fabric: Fabric, options: PathOptions) -> int:
    """How many draws of hashed connections to average: one where nothing is left to chance, fewer on large fabrics."""
    if options.policy != "ecmp":
        return 1
    return max(1, min(64, 65_536 // max(fabric.num_gpus, 1)))


def collective_rows(
    fabric: Fabric,
    op: Op,
    sizes: Sequence[int],
    draws: Sequence[Sequence[Ints]],
    *,
    groups: Grouping = "all",
    algorithm: str | None = None,
    menu: Menu = "nccl",
    options: PathOptions | None = None,
    health: Health | None = None,
) -> list[Row]:
    """One row per size: the mean time over draws, each with source ports (and jobs' GPUs) of its own.

    draws: [draws][jobs] GPUs of each of the jobs that run at the same time.
    """
    chosen = options or default_paths(fabric)
    drawn = []
    for at, jobs in enumerate(draws):
        members = [part for gpus in jobs for part in (by_rail(fabric, gpus) if groups == "rail" else [gpus])]
        if not members:
            raise UsageError("one GPU per rail has nobody to talk to: ask for two servers at least", field="groups")
        seeded = msgspec.structs.replace(chosen, seed=chosen.seed + at, draws=1)
        drawn.append(price_all(fabric, op, members, seeded, health, algorithm, menu))
    num = drawn[0].ranks[0].num
    rows = []
    for size in sizes:
        choices = [ways.best(float(size)) for ways in drawn]
        seconds = sum(choice.seconds for choice in choices) / len(choices)
        rows.append(
            Row(
                fabric=fabric.name,
                op=op,
                algorithm=_usual([choice.algorithm for choice in choices]),
                gpus=len(draws[0][0]),
                ranks=num,
                bytes=size,
                concurrent=len(draws[0]),
                groups=groups,
                paths=chosen.policy,
                draws=len(draws),
                time_s=seconds,
                slowest_s=max(choice.seconds for choice in choices),
                algbw_gbytes_s=size / seconds / GB,
                busbw_gbytes_s=busbw(op, num, size, seconds) / GB,
                why=choices[0].why,
            )
        )
    return rows


def _usual(names: list[str]) -> str:
    return max(sorted(set(names)), key=names.count)
