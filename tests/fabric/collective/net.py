"""Small networks for tests: one switch that never is the limit, or what a family builds."""

from functools import cache
from typing import Any

import numpy as np

from roadbed.fabric import registry
from roadbed.fabric.base import GBIT, Builder, Fabric, Kind, LinkKind, Traits


def flat(num_servers: int, gpus_per_server: int = 1, *, chip: str = "H800", gbps: float = 400.0) -> Fabric:
    """Every card on one switch, one card per GPU: an ideal network."""
    build = Builder()
    num = num_servers * gpus_per_server
    server = np.repeat(np.arange(num_servers), gpus_per_server)
    rail = np.tile(np.arange(gpus_per_server), num_servers)
    gpus = build.add_nodes(Kind.GPU, num, server=server, rail=rail, segment=0, pod=0)
    ups = build.add_nodes(Kind.SCALE_UP, num_servers, server=np.arange(num_servers), segment=0, pod=0)
    nics = build.add_nodes(Kind.NIC, num, server=server, rail=rail, segment=0, pod=0)
    tor = build.add_nodes(Kind.TOR, 1, segment=0, pod=0)
    build.join(gpus, ups[server], LinkKind.SCALE_UP, 200e9, 25e-9)
    build.join(gpus, nics, LinkKind.PCIE, 64e9, 0.0)
    build.join(nics, np.full(num, tor[0]), LinkKind.ACCESS, gbps * GBIT, 500e-9)
    return build.freeze(
        name="flat",
        parameters={},
        traits=Traits(rail_optimised=True),
        chip=chip,
        gpus_per_server=gpus_per_server,
        gpu_nic=nics,
        gpu_scale_up=ups[server],
    )


@cache
def family(name: str, gpus: int, **parameters: Any) -> Fabric:
    """A family's network, built once."""
    return registry.build(name, gpus=gpus, **parameters)
