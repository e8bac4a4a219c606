"""Which GPUs a job gets, and in which order its ranks stand, for experiments and what-ifs.

`packed` is what a scheduler that knows the network does: whole servers, neighbours first. `scattered` is what one that
knows pods and nothing below them ends up with after a while: pod by pod, servers in the order they fell free.
`anywhere` knows not even pods.
"""

from typing import Literal

import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Fabric, Ints
from roadbed.fabric.collective.chooser import by_topology

Placement = Literal["packed", "scattered", "anywhere"]
Order = Literal["given", "planned", "shuffled"]
PLACEMENTS: tuple[Placement, ...] = ("packed", "scattered", "anywhere")
ORDERS: tuple[Order, ...] = ("given", "planned", "shuffled")


def place(
    fabric: Fabric,
    num_gpus: int,
    num_jobs: int = 1,
    *,
    how: Placement = "packed",
    order: Order = "given",
    seed: int = 0,
) -> list[Ints]:
    """[num_jobs] GPUs of each job in rank order, no GPU twice. UsageError when they do not fit."""
    if num_gpus < 1 or num_jobs < 1:
        raise UsageError(f"{num_jobs} jobs of {num_gpus} GPUs: both are at least 1", field="gpus")
    rng = np.random.default_rng(seed)
    server = fabric.server[: fabric.num_gpus]
    servers = np.arange(fabric.num_servers)
    if how != "packed":
        servers = rng.permutation(servers)
    if how == "scattered":
        first = np.searchsorted(server, servers)
        servers = servers[np.argsort(fabric.pod[first], kind="stable")]
    whole = -(-num_gpus // fabric.gpus_per_server)
    if num_jobs * whole > len(servers):
        raise UsageError(
            f"{num_jobs} × {num_gpus} GPUs need {num_jobs * whole} servers; {fabric.name} has {len(servers)}",
            hint=f"roadbed fabric show --fabric {fabric.name} --gpus {num_jobs * whole * fabric.gpus_per_server}",
            field="gpus",
        )
    start = np.searchsorted(server, np.arange(fabric.num_servers + 1))
    out = []
    for job in range(num_jobs):
        mine = servers[job * whole : (job + 1) * whole]
        gpus = np.concatenate([np.arange(start[one], start[one + 1], dtype=np.int32) for one in mine])[:num_gpus]
        out.append(_ordered(fabric, gpus, order, rng))
    return out


def _ordered(fabric: Fabric, gpus: Ints, order: Order, rng: np.random.Generator) -> Ints:
    if order == "planned":
        return by_topology(fabric, gpus)
    shuffled: Ints = rng.permutation(gpus)
    return shuffled if order == "shuffled" else gpus


def by_rail(fabric: Fabric, gpus: Ints) -> list[Ints]:
    """The GPUs of each place in their server, as groups: one collective per rail. Groups of one are left out."""
    server = fabric.server[gpus]
    place_in = np.zeros(len(gpus), np.int32)
    for one in np.unique(server):
        mine = np.flatnonzero(server == one)
        place_in[mine[np.argsort(gpus[mine], kind="stable")]] = np.arange(len(mine))
    groups = [gpus[place_in == one] for one in range(int(place_in.max()) + 1)]
    return [group for group in groups if len(group) > 1]
