"""`kind: cluster` — the machines: what they are and where they stand in the network.

kind: cluster
name: west
nodes:
  - {server: hgx-h100, name: "gpu[000-127]", segments: 8, tors: {per: rail, num: 2}}
  - {server: nvl72-tray, name: "tray[00-35]", pod: pod-1}
  - {server: t4-4, count: 10, labels: {zone: b}}
cordon: ["gpu[003-004]"]

Machines of one kind are one entry; rules lay them out in order of their names, and what no rule fits is listed as
`domains`. Everything is spelled out by `inventory`, which is all that others read. A document that lies (nodes twice,
rules that do not come out even, chips nobody knows) is refused as a whole: a scheduler must not find out later.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from roadbed.errors import NotFoundError
from roadbed.hardware.chips import CHIPS, Chip, resolve
from roadbed.hardware.servers import Nic, Server, server
from roadbed.spec.accelerator import parse_device_memory
from roadbed.spec.base import Complaints, Name, Spec
from roadbed.spec.inventory import NodeInfo
from roadbed.spec.layout import MAX_NODES, Group, lay_out
from roadbed.spec.quantity import Bytes

MIB = 2**20
Dtype = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "int8"]
_RESERVED = {"gpu", "any", "cpu", "memory"}


def _check_chip_name(name: str) -> str:
    if name.casefold() in _RESERVED:
        raise ValueError(f"{name!r} has a meaning of its own in requests; call the chip something else")
    if not name.isascii() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(name) > 63:
        raise ValueError(f"{name!r} is not the name of a chip: letters, digits, '.', '_', '-'")
    if not name[0].isalnum():
        raise ValueError(f"{name!r} is not the name of a chip: it begins with a letter or digit")
    return name


ChipName = Annotated[str, AfterValidator(_check_chip_name)]
_MEMORY_SCHEMA = WithJsonSchema({"type": "string", "examples": ["80GB", "24GiB"]})
DeviceMemory = Annotated[
    int, BeforeValidator(parse_device_memory), PlainSerializer(lambda mib: f"{mib}MiB", return_type=str), _MEMORY_SCHEMA
]
Count = Annotated[int, Field(ge=1, le=MAX_NODES)]
Index = Annotated[int, Field(ge=0, le=1023)]


class ChipSpec(Spec):
    """An accelerator the catalogue does not have. Figures are peaks: dense, of one device."""

    memory: DeviceMemory
    """As sold: 80GB is 81,920 MiB."""
    flops: dict[Dtype, Annotated[float, Field(gt=0)]] = {}
    """FLOP/s by dtype, such as {bf16: 312e12}."""
    memory_bandwidth: Bytes = 0
    """Per second."""
    link: str = "PCIe"
    link_bandwidth: Bytes = 0
    """Per second, both directions."""
    tdp_w: Annotated[float, Field(ge=0)] = 0.0


class NicSpec(Spec):
    """One network card of the scale-out network."""

    gbps: Annotated[int, Field(ge=1)]
    rail: Index = 0
    ports: Annotated[int, Field(ge=1, le=64)] = 1


class ServerSpec(Spec):
    """A server the catalogue does not have."""

    chip: str | None = None
    devices: Annotated[int, Field(ge=0, le=1024)] = 0
    islands: list[Index] = []
    """Per device: its scale-up island in the server; default: all in one."""
    servers_per_island: Count = 1
    """Servers one scale-up island spans."""
    rails: list[Index] = []
    """Per device; default: its index."""
    cpu: Annotated[int, Field(ge=1, le=4096)]
    """Logical CPUs."""
    memory: Bytes
    nics: list[NicSpec] = []

    @model_validator(mode="after")
    def _consistent(self) -> "ServerSpec":
        if (self.chip is None) != (self.devices == 0):
            raise ValueError("chip and devices go together: name both or neither")
        for name in ("islands", "rails"):
            given: list[int] = getattr(self, name)
            if given and len(given) != self.devices:
                raise ValueError(f"{name} names {len(given)} devices of {self.devices}")
        return self


class Domain(Spec):
    """The next so many nodes stand in this segment."""

    nodes: Count
    segment: Name
    pod: Name | None = None
    """Default: the entry's."""


class Tors(Spec):
    """Which top-of-rack switches a node's ports go to."""

    per: Literal["rail", "segment"] = "rail"
    num: Annotated[int, Field(ge=1, le=16)] = 1


class NodeGroup(Spec):
    """Machines of one kind. Without a rule they are one segment of their own in their pod."""

    server: str
    """A template of the catalogue, or of `servers`."""
    name: str | None = None
    """Such as gpu[000-127]; default: the server's name and a number."""
    count: Count | None = None
    """How many, where the name does not say."""
    pod: Name | None = None
    """Default: pod-0."""
    pods: Count | None = None
    """Evenly over so many new pods."""
    segment: Name | None = None
    """All in this segment of the pod, which other entries may name too."""
    segments: Count | None = None
    """Evenly over so many new segments."""
    nodes_per_segment: Count | None = None
    domains: list[Domain] = []
    """Segments of uneven size, listed."""
    nodes_per_island: Count | None = None
    """Servers one scale-up island spans; default: the server's. Islands begin anew with each segment."""
    islands: list[Count] = []
    """Islands of uneven size, in nodes, listed."""
    tors: Tors | None = None
    cpu: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Logical CPUs of each, where they differ from the server's."""
    memory: Bytes | None = None
    labels: dict[str, str] = {}
    cordon: bool = False
    """They take nothing new."""

    @model_validator(mode="after")
    def _one_rule(self) -> "NodeGroup":
        for names in (("segment", "segments", "nodes_per_segment", "domains"), ("nodes_per_island", "islands")):
            given = [name for name in names if getattr(self, name)]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} are rules for the same thing; keep one")
        if self.pods and (self.pod or self.domains):
            raise ValueError(f"pods and {'pod' if self.pod else 'domains'} are rules for the same thing; keep one")
        if self.pods and self.segments and self.segments % self.pods:
            raise ValueError(f"{self.segments} segments do not come out even over {self.pods} pods")
        return self


class Cluster(Spec):
    """The machines."""

    kind: Literal["cluster"] = "cluster"
    name: Name
    chips: dict[ChipName, ChipSpec] = {}
    """Accelerators the catalogue does not have, by name."""
    servers: dict[str, ServerSpec] = {}
    """Servers the catalogue does not have, by name."""
    nodes: Annotated[list[NodeGroup], Field(min_length=1)]
    cordon: list[str] = []
    """Nodes that take nothing new, such as gpu[003-004]."""

    @model_validator(mode="after")
    def _sound(self) -> "Cluster":
        found = Complaints("Cluster")
        _nodes_of(self, found)
        found.raise_any()
        return self


def inventory(cluster: Cluster) -> list[NodeInfo]:
    """Every machine of a cluster, in the order written; O(nodes). Never raises: the document was checked when read."""
    return _nodes_of(cluster, Complaints("Cluster"))


def chips_of(cluster: Cluster) -> dict[str, Chip]:
    """The catalogue's chips and the cluster's own, by name; its own win."""
    return {**CHIPS, **{name: _chip(name, spec, cluster.name) for name, spec in cluster.chips.items()}}


def _chip(name: str, spec: ChipSpec, cluster: str) -> Chip:
    return Chip(
        name=name,
        vendor="custom",
        memory_mib=spec.memory,
        memory_bandwidth_bytes_s=float(spec.memory_bandwidth),
        flops={str(dtype): value for dtype, value in spec.flops.items()},
        link=spec.link,
        link_bandwidth_bytes_s=float(spec.link_bandwidth),
        tdp_w=spec.tdp_w,
        source=f"cluster {cluster}",
    )


def _nodes_of(cluster: Cluster, found: Complaints) -> list[NodeInfo]:
    custom = _servers(cluster, found)
    chips = chips_of(cluster)
    groups: list[Group] = []
    for index, spec in enumerate(cluster.nodes):
        if spec.server in cluster.servers and spec.server not in custom:
            continue  # what is wrong with it has been said
        try:
            template = server(spec.server, custom)
        except NotFoundError as error:
            found.add(("nodes", index, "server"), error.message)
            continue
        chip = chips.get(template.chip)
        groups.append(_group(index, spec, template, chip.memory_mib if chip else 0))
    return lay_out(groups, cluster.cordon, found)


def _group(index: int, spec: NodeGroup, template: Server, device_memory_mib: int) -> Group:
    return Group(
        index=index,
        server=template,
        device_memory_mib=device_memory_mib,
        pattern=spec.name,
        count=spec.count,
        cpu_milli=template.num_cpus * 1000 if spec.cpu is None else round(spec.cpu * 1000),
        memory_mib=template.memory_mib if spec.memory is None else spec.memory // MIB,
        pod=spec.pod,
        num_pods=spec.pods,
        segment=spec.segment,
        num_segments=spec.segments,
        nodes_per_segment=spec.nodes_per_segment,
        domains=tuple((one.nodes, one.pod, one.segment) for one in spec.domains),
        nodes_per_island=spec.nodes_per_island or template.island_servers,
        islands=tuple(spec.islands),
        tors_per_rail=spec.tors.num if spec.tors and spec.tors.per == "rail" else 0,
        tors_per_segment=spec.tors.num if spec.tors and spec.tors.per == "segment" else 0,
        labels=dict(spec.labels),
        cordoned=spec.cordon,
    )


def _servers(cluster: Cluster, found: Complaints) -> dict[str, Server]:
    """The document's own servers; those of unknown chips are complained about and left out."""
    known: dict[str, Server] = {}
    for name, spec in cluster.servers.items():
        chip = ""
        if spec.chip is not None:
            try:
                names = resolve(spec.chip, cluster.chips)
            except NotFoundError as error:
                found.add(("servers", name, "chip"), error.message)
                continue
            if len(names) > 1:
                found.add(("servers", name, "chip"), f"{spec.chip} is a family; name one of {', '.join(names)}")
                continue
            chip = names[0]
        known[name] = _server(name, spec, chip)
    return known


def _server(name: str, spec: ServerSpec, chip: str) -> Server:
    return Server(
        name=name,
        chip=chip,
        num_devices=spec.devices,
        device_islands=tuple(spec.islands),
        island_servers=spec.servers_per_island,
        rails=tuple(spec.rails),
        num_cpus=spec.cpu,
        memory_mib=spec.memory // MIB,
        nics=tuple(Nic(gbps=nic.gbps, rail=nic.rail, num_ports=nic.ports) for nic in spec.nics),
        source="the cluster's document",
    )
