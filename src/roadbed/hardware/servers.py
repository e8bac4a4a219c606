"""Servers by name: which devices, how they hang together, and what else is in the box.

A template is what one can order, not one machine: CPU, memory and network are those of a usual configuration and may
be overridden where a cluster is described. CPUs are logical ones, as the operating system counts them.

Islands inside a server are groups of devices that reach each other over the chip's own link. On PCIe boxes that is one
CPU socket: traffic between sockets crosses the CPUs.
"""

import difflib
from collections.abc import Mapping

import msgspec

from roadbed.errors import NotFoundError

GIB = 1024


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One network card of the scale-out (backend) network."""

    gbps: int
    """Both ports together."""
    rail: int
    num_ports: int = 1


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of machine."""

    name: str
    num_cpus: int
    """Logical CPUs."""
    memory_mib: int
    chip: str = ""
    num_devices: int = 0
    device_islands: tuple[int, ...] = ()
    """Per device: its scale-up island inside the server; () = all in one."""
    island_servers: int = 1
    """Servers that one scale-up island spans."""
    rails: tuple[int, ...] = ()
    """Per device: the rail of the card nearest to it; () = its index."""
    nics: tuple[Nic, ...] = ()
    frontend_gbps: int = 0
    """Storage and management traffic."""
    source: str = ""

    @property
    def scale_out_gbps(self) -> int:
        """All backend cards together."""
        return sum(nic.gbps for nic in self.nics)


def _nics(num: int, gbps: int, num_ports: int = 1) -> tuple[Nic, ...]:
    return tuple(Nic(gbps=gbps, rail=rail, num_ports=num_ports) for rail in range(num))


def _hgx(name: str, chip: str, gbps: int, source: str, num_cpus: int = 192) -> Server:
    """Eight devices behind NVSwitch, one card each: the server every training network is drawn around."""
    return Server(
        name=name,
        chip=chip,
        num_devices=8,
        num_cpus=num_cpus,
        memory_mib=2048 * GIB,
        nics=_nics(8, gbps, 2),
        frontend_gbps=400,
        source=source,
    )


def _pcie(name: str, chip: str, sockets: tuple[int, int], num_cpus: int, gib: int, gbps: int) -> Server:
    """Devices on two sockets (how many on each); one card that all share."""
    num = sum(sockets)
    return Server(
        name=name,
        chip=chip,
        num_devices=num,
        device_islands=(0,) * sockets[0] + (1,) * sockets[1],
        rails=(0,) * num,
        num_cpus=num_cpus,
        memory_mib=gib * GIB,
        nics=_nics(1, gbps),
        frontend_gbps=25,
        source="a usual two-socket configuration",
    )


_ALL = (
    _hgx("hgx-h100", "H100", 400, "NVIDIA DGX H100 datasheet; cards as in HPN (SIGCOMM'24): 8 x 2x200G", 224),
    _hgx("hgx-h200", "H200", 400, "NVIDIA DGX H200 datasheet; cards as hgx-h100", 224),
    _hgx("hgx-h800", "H800", 400, "HPN (SIGCOMM'24): 8 devices, 8 x 2x200G backend"),
    _hgx("hgx-h20", "H20", 400, "NVIDIA HGX H20; a usual two-socket configuration"),
    _hgx("hgx-a100", "A100-80GB", 200, "NVIDIA DGX A100 640GB datasheet: 8 x 200G", 256),
    _hgx("mi300x-8", "MI300X", 400, "AMD Instinct MI300X platform; a usual two-socket configuration"),
    Server(
        name="ppu-16",
        chip="PPU-96GB",
        num_devices=16,
        rails=tuple(device // 2 for device in range(16)),
        num_cpus=192,
        memory_mib=2048 * GIB,
        nics=_nics(8, 400, 2),
        frontend_gbps=400,
        source="16 accelerators in one scale-up domain, 1.5 TB pooled memory, 3.2 Tb/s scale-out",
    ),
    Server(
        name="ascend-16",
        chip="Ascend-910B",
        num_devices=16,
        device_islands=(0,) * 8 + (1,) * 8,
        rails=tuple(range(16)),
        num_cpus=192,
        memory_mib=1536 * GIB,
        nics=_nics(16, 200),
        frontend_gbps=100,
        source="Huawei Atlas 200T A2 Box16: 16 NPUs in two HCCS meshes of 8, 16 x 200G RoCE",
    ),
    Server(
        name="nvl72-tray",
        chip="GB200",
        num_devices=4,
        island_servers=18,
        num_cpus=144,
        memory_mib=960 * GIB,
        nics=_nics(4, 400),
        frontend_gbps=400,
        source="NVIDIA GB200 NVL72 datasheet: 18 compute trays of 4 GPUs and 2 Grace CPUs",
    ),
    Server(
        name="dgx-v100",
        chip="V100-32GB",
        num_devices=8,
        rails=tuple(device // 2 for device in range(8)),
        num_cpus=80,
        memory_mib=512 * GIB,
        nics=_nics(4, 100),
        frontend_gbps=10,
        source="NVIDIA DGX-1 datasheet: hybrid cube mesh, 4 x 100G",
    ),
    _pcie("l40s-8", "L40S", (4, 4), 192, 1024, 400),
    _pcie("l20-8", "L20", (4, 4), 192, 1024, 200),
    _pcie("a10-4", "A10", (2, 2), 128, 512, 100),
    _pcie("t4-4", "T4", (2, 2), 96, 384, 50),
    _pcie("p100-2", "P100", (1, 1), 64, 512, 25),
    Server(
        name="cpu-node",
        num_cpus=128,
        memory_mib=512 * GIB,
        frontend_gbps=100,
        source="a usual two-socket configuration",
    ),
)

SERVERS: dict[str, Server] = {server.name: server for server in _ALL}


def server(name: str, custom: Mapping[str, Server] | None = None) -> Server:
    """The template of that name; `custom` ones win. Raises NotFoundError with the nearest name."""
    known = {**SERVERS, **(custom or {})}
    found = known.get(name)
    if found is None:
        close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
        words = f"did you mean {close[0]!r}?" if close else f"servers are {', '.join(known)}"
        raise NotFoundError(f"there is no server {name!r}; {words}", hint="roadbed schema cluster", field="server")
    return found
