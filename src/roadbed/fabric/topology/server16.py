"""HPN 7.0 for servers of 16 accelerators: two share a card and a rail, all 16 one scale-up domain.

Nothing above the card changes: eight rails, dual ToR, dual plane, 128 servers a segment. A GPU has half the scale-out
bandwidth of the 8-GPU server's and half the servers make the same job, so more of a collective stays inside.
Source: servers as `ppu-16` in the hardware catalogue.
"""

from roadbed.fabric.base import Fabric
from roadbed.fabric.topology import hpn7
from roadbed.fabric.topology.sizing import Count, Gbps
from roadbed.hardware.servers import SERVERS

_SERVER = SERVERS["ppu-16"]


class Server16(hpn7.Hpn7, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of an HPN 7.0 network of 16-accelerator servers."""

    chip: str = _SERVER.chip
    gpus_per_server: Count = _SERVER.num_devices
    nics_per_server: Count = len(_SERVER.nics)
    nic_port_gbps: Gbps = _SERVER.nics[0].gbps / _SERVER.nics[0].num_ports


def build(counts: Server16) -> Fabric:
    """The network of these counts. UsageError where they contradict each other."""
    return hpn7.build(counts, name="server16")
