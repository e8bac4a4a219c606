"""What tests of families count."""

import numpy as np

from roadbed.fabric.base import Fabric, Kind, LinkKind


def ports(fabric: Fabric, kind: Kind, link: LinkKind) -> set[int]:
    """The different numbers of ports that nodes of a kind have on links of a kind."""
    mine = fabric.src[fabric.link_kind == link]
    return set(np.bincount(mine, minlength=fabric.num_nodes)[fabric.nodes(kind)].tolist())


def switches(fabric: Fabric) -> list[int]:
    """How many ToRs, Aggs and Cores."""
    return [len(fabric.nodes(kind)) for kind in (Kind.TOR, Kind.AGG, Kind.CORE)]
