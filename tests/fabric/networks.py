"""Small networks of every wiring the path tests need."""

from roadbed.fabric.base import Builder, Fabric, Ints, Kind, LinkKind, Traits
from roadbed.fabric.registry import build


def small_hpn(gpus: int = 64, **counts: object) -> Fabric:
    """Segments of 2 servers, 4 Aggs a plane: 16 ToRs per segment as in the large one."""
    given = {"active_servers": 2, "aggs_per_plane": 4, "agg_down_ports": 32, "agg_uplinks": 2, "cores_per_plane": 2}
    return build("hpn7", gpus=gpus, **(given | counts))


def small_dcn(gpus: int = 64, **counts: object) -> Fabric:
    """Segments of 2 servers behind two ToRs, 2 Aggs a pod joined by 2 cables each."""
    given = {"servers_per_segment": 2, "aggs": 2, "agg_cables": 2, "agg_uplinks": 4, "cores": 4}
    return build("dcn_plus", gpus=gpus, **(given | counts))


def single_tor(num_gpus: int = 4, num_spines: int = 2, gbytes_s: float = 25e9) -> Fabric:
    """One GPU a server, one card, one port; two servers a ToR; every ToR to every spine."""
    builder = Builder()
    servers = range(num_gpus)
    gpus = builder.add_nodes(Kind.GPU, num_gpus, server=list(servers), pod=0)
    nics = builder.add_nodes(Kind.NIC, num_gpus, server=list(servers), pod=0)
    tors = builder.add_nodes(Kind.TOR, (num_gpus + 1) // 2, pod=0)
    spines = builder.add_nodes(Kind.AGG, num_spines, pod=0)
    builder.join(gpus, nics, LinkKind.PCIE, 64e9, 1e-7)
    builder.join(nics, tors[[one // 2 for one in servers]], LinkKind.ACCESS, gbytes_s, 5e-7)
    for tor in tors:
        builder.join([tor] * num_spines, spines, LinkKind.FABRIC, gbytes_s, 5e-7)
    none: Ints = gpus * 0 - 1
    return builder.freeze(
        name="single_tor", parameters={}, traits=Traits(), chip="H800", gpus_per_server=1, gpu_nic=nics,
        gpu_scale_up=none,
    )  # fmt: skip
