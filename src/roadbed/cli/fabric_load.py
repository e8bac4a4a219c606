"""What the commands that load a fabric share: sizes, paths, placement and failed links."""

import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import click
import msgspec

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Health, Ints, Kind
from roadbed.fabric.collective.base import MAX_BYTES
from roadbed.fabric.collective.run import PathOptions
from roadbed.fabric.collective.table import default_order, default_paths, default_placement
from roadbed.fabric.hashing import HashModel
from roadbed.fabric.layout import ORDERS, PLACEMENTS, Order, Placement, place
from roadbed.fabric.paths import Policy

MAX_SIZES = 200
POLICIES = get_args(Policy)
_SIZE = re.compile(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


def _size(text: str) -> int:
    """`64M` → 67,108,864. ValueError on anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size")
    return int(match[1]) << (10 * " KMGT".index(match[2].upper() or " "))


def human_size(size: int) -> str:
    """`64M`: as sizes are written here."""
    for at, unit in reversed(list(enumerate("KMGT", 1))):
        if size >= 1 << (10 * at):
            return f"{size / (1 << (10 * at)):.4g}{unit}"
    return str(size)


class Sizes(click.ParamType[tuple[int, ...]]):
    """`1M..4G` (×4 each), `1M..4G*2` (×2 each), or `64M,1G`. K, M and G are powers of 1,024, as in nccl-tests."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        out: list[int] = []
        for part in str(value).split(","):
            low, dots, rest = part.strip().partition("..")
            high, star, factor = rest.partition("*")
            try:
                first = _size(low)
                if not dots:
                    out.append(first)
                    continue
                last, step = _size(high), int(factor) if star else 4
            except ValueError as error:
                self.fail(f"{part!r}: {error}; sizes look like 1M..4G, 1M..4G*2 or 64M,1G", param, ctx)
            if step < 2 or last < first:
                self.fail(f"{part!r} is empty: the first size is the smaller one, the factor at least 2", param, ctx)
            while first <= last and len(out) <= MAX_SIZES:
                out.append(first)
                first *= step
        bad = next((one for one in out if not 0 < one <= MAX_BYTES), None)
        if bad is not None or len(out) > MAX_SIZES:
            self.fail(f"{value!r}: sizes are 1 byte to 1024 T, {MAX_SIZES} at most", param, ctx)
        return tuple(out)


def load_options(command: Callable[..., None]) -> Callable[..., None]:
    """--paths, --qps, --hash, --placement, --order, --seed, --fail, as keyword arguments for Load."""
    for option in reversed(
        (
            click.option(
                "--paths", type=click.Choice(POLICIES), help="How connections choose links. Default: by design."
            ),
            click.option("--qps", type=click.IntRange(1, 256), help="Queue pairs per connection."),
            click.option(
                "--hash",
                "hashing",
                type=click.Choice(["tier", "switch"]),
                help="Seeds of the switches' hash: the same in all tiers (polarises), or of its own in each switch.",
            ),
            click.option("--placement", type=click.Choice(PLACEMENTS), help="Servers: neighbours, or from anywhere."),
            click.option("--order", type=click.Choice(ORDERS), help="Rank order."),
            click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of all draws."),
            click.option(
                "--fail", "failed", multiple=True, metavar="LINK|NODE", help="Down from the start: nic-0:tor-1."
            ),
        )
    ):
        command = option(command)
    return command


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The options above."""

    paths: Policy | None = None
    qps: int | None = None
    hashing: Literal["tier", "switch"] | None = None
    placement: Placement | None = None
    order: Order | None = None
    seed: int = 0
    failed: tuple[str, ...] = ()

    def path_options(self, fabric: Fabric) -> PathOptions:
        base = default_paths(fabric)
        return PathOptions(
            policy=self.paths or base.policy,
            qps=self.qps or base.qps,
            seed=self.seed,
            draws=base.draws if (self.paths or base.policy) == "ecmp" else 1,
            hash=HashModel(seed_per=self.hashing) if self.hashing else base.hash,
        )

    def jobs(self, fabric: Fabric, num_gpus: int, num_jobs: int, draw: int = 0) -> list[Ints]:
        """GPUs of each job; every draw of scattered servers or shuffled ranks is another."""
        return place(
            fabric,
            num_gpus,
            num_jobs,
            how=self.placement or default_placement(fabric),
            order=self.order or default_order(fabric),
            seed=self.seed + draw,
        )

    def health(self, fabric: Fabric) -> Health:
        """Everything works but what --fail names; both directions of a cable, all cables of a node."""
        health = Health.of(fabric)
        for name in self.failed:
            links = [fabric.find_link(name)] if ":" in name else _links_of(fabric, name)
            for link in links:
                health.link_up[link] = False
                if fabric.reverse[link] >= 0:
                    health.link_up[fabric.reverse[link]] = False
        return health


def _links_of(fabric: Fabric, name: str) -> list[int]:
    node = fabric.find_node(name)
    if fabric.kind[node] in (Kind.GPU, Kind.SCALE_UP):
        raise UsageError(f"{name}: links, cards and switches can fail here, not what is inside a server", field="fail")
    return [int(link) for link in fabric.leaving(node)]
