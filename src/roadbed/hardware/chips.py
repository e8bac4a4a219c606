"""Accelerators by name: what one device has, and where each figure was published.

Figures are peaks: dense (no sparsity), at boost clock, as the vendor prints them; what software reaches is the business
of measured profiles. Memory is nominal: an 80 GB device is 80 GiB here, though drivers report a little less. The
trade-off: a plain table in code, so a figure has one home and a review; a chip that is not here is described in the
cluster document that has it.

A name may stand for several chips: `A100` is any A100, `A100-80GB` is one of them.
"""

import difflib
from collections.abc import Iterable, Mapping

import msgspec

from roadbed.errors import NotFoundError

T = 10**12
GB_S = 10**9
GIB = 1024


class Chip(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of device."""

    name: str
    vendor: str
    memory_mib: int
    """Nominal; 0 = it uses the host's."""
    memory_bandwidth_bytes_s: float
    flops: dict[str, float]
    """Dense FLOP/s (integer operations for int8) by dtype: fp32, tf32, bf16, fp16, fp8, int8. Only what it computes."""
    link: str
    """How devices of one scale-up island talk."""
    link_bandwidth_bytes_s: float
    """Of one device, both directions together."""
    tdp_w: float
    source: str
    """Where the figures were published."""
    other_sources: dict[str, str] = {}
    """Figure (`tdp_w`, `flops.fp16`, …) → its source, where that is another one."""
    aliases: tuple[str, ...] = ()
    """Names in traces and families that mean this chip (a family: several chips)."""

    def source_of(self, figure: str) -> str:
        """Where one figure was published."""
        return self.other_sources.get(figure, self.source)

    def flops_of(self, *dtypes: str) -> float:
        """FLOP/s of the first of these dtypes that the chip computes; 0.0 when it computes none."""
        return next((self.flops[dtype] for dtype in dtypes if dtype in self.flops), 0.0)


def _nvidia(
    name: str,
    gib: int,
    memory_tb_s: float,
    tflops: Mapping[str, float],
    link: tuple[str, float],
    tdp_w: float,
    source: str,
    aliases: tuple[str, ...] = (),
) -> Chip:
    """A row of the table below, in the units datasheets use: GB/s of link, TB/s of memory, TFLOP/s."""
    return Chip(
        name=name,
        vendor="nvidia",
        memory_mib=gib * GIB,
        memory_bandwidth_bytes_s=memory_tb_s * T,
        flops={dtype: value * T for dtype, value in tflops.items()},
        link=link[0],
        link_bandwidth_bytes_s=link[1] * GB_S,
        tdp_w=tdp_w,
        source=source,
        aliases=aliases,
    )


_AMPERE = {"fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312, "int8": 624}
_HOPPER = {"fp32": 67, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4, "fp8": 1978.9, "int8": 1978.9}
_VOLTA = {"fp32": 15.7, "fp16": 125}
_PCIE3, _PCIE4 = ("PCIe 3.0 x16", 32), ("PCIe 4.0 x16", 64)

_NVIDIA = (
    _nvidia("A100-40GB", 40, 1.555, _AMPERE, ("NVLink 3", 600), 400, "NVIDIA A100 datasheet (SXM4 40 GB)", ("A100",)),
    _nvidia(
        "A100-80GB", 80, 2.039, _AMPERE, ("NVLink 3", 600), 400, "NVIDIA A100 datasheet (SXM4 80 GB)",
        ("A100", "A100-SXM4-80GB"),
    ),
    _nvidia("H100", 80, 3.35, _HOPPER, ("NVLink 4", 900), 700, "NVIDIA H100 datasheet (SXM5)", ("H100-80GB",)),
    _nvidia("H200", 141, 4.8, _HOPPER, ("NVLink 4", 900), 700, "NVIDIA H200 datasheet (SXM5)", ("H200-141GB",)),
    _nvidia("H800", 80, 3.35, _HOPPER, ("NVLink 4", 400), 700, "NVIDIA H800 datasheet (SXM5)", ("H800-80GB",)),
    _nvidia(
        "H20", 96, 4.0, {"fp32": 44, "tf32": 74, "bf16": 148, "fp16": 148, "fp8": 296, "int8": 296},
        ("NVLink 4", 900), 400, "NVIDIA HGX H20 specification sheet", ("H20-96GB",),
    ),
    _nvidia(
        "GB200", 186, 8.0, {"fp32": 80, "tf32": 1250, "bf16": 2500, "fp16": 2500, "fp8": 5000, "int8": 5000},
        ("NVLink 5", 1800), 1200, "NVIDIA GB200 NVL72 datasheet, one of 72 GPUs, half of the sparse figures", ("B200",),
    ),
    _nvidia(
        "L40S", 48, 0.864, {"fp32": 91.6, "tf32": 183, "bf16": 362.05, "fp16": 362.05, "fp8": 733, "int8": 733},
        _PCIE4, 350, "NVIDIA L40S datasheet",
    ),
    _nvidia(
        "L20", 48, 0.864, {"fp32": 59.8, "tf32": 59.8, "bf16": 119.5, "fp16": 119.5, "fp8": 239, "int8": 239},
        _PCIE4, 275, "NVIDIA L20 specification sheet",
    ),
    _nvidia("A10", 24, 0.6, {"fp32": 31.2, "tf32": 62.5, "bf16": 125, "fp16": 125, "int8": 250}, _PCIE4, 150,
            "NVIDIA A10 datasheet"),
    _nvidia("T4", 16, 0.32, {"fp32": 8.1, "fp16": 65, "int8": 130}, _PCIE3, 70, "NVIDIA T4 datasheet"),
    _nvidia("V100-16GB", 16, 0.9, _VOLTA, ("NVLink 2", 300), 300, "NVIDIA V100 datasheet (SXM2 16 GB)",
            ("V100", "V100M16")),
    _nvidia("V100-32GB", 32, 0.9, _VOLTA, ("NVLink 2", 300), 300, "NVIDIA V100 datasheet (SXM2 32 GB)",
            ("V100", "V100M32")),
    _nvidia("P100", 16, 0.732, {"fp32": 9.3, "fp16": 18.7}, _PCIE3, 250, "NVIDIA P100 datasheet (PCIe 16 GB)"),
)  # fmt: skip

_OTHERS = (
    Chip(
        name="MI300X",
        vendor="amd",
        memory_mib=192 * GIB,
        memory_bandwidth_bytes_s=5.3 * T,
        flops={
            "fp32": 163.4 * T, "tf32": 653.7 * T, "bf16": 1307.4 * T, "fp16": 1307.4 * T, "fp8": 2614.9 * T,
            "int8": 2614.9 * T,
        },
        link="Infinity Fabric, 7 links",
        link_bandwidth_bytes_s=896 * GB_S,
        tdp_w=750,
        source="AMD Instinct MI300X datasheet",
        aliases=("AMD-MI300X",),
    ),
    Chip(
        name="Ascend-910B",
        vendor="huawei",
        memory_mib=64 * GIB,
        memory_bandwidth_bytes_s=1.6 * T,
        flops={"bf16": 313 * T, "fp16": 313 * T, "int8": 626 * T},
        link="HCCS, full mesh of 8",
        link_bandwidth_bytes_s=392 * GB_S,
        tdp_w=400,
        source="Huawei Atlas 800T A2 product page: 8 NPUs, 2.5 PFLOPS FP16, 64 GB and 392 GB/s HCCS each",
        other_sources={
            "flops.int8": "estimate: twice FP16, the ratio of the first Ascend 910",
            "tdp_w": "estimate: not published, 400 W as its peers",
        },
        aliases=("910B", "Ascend910B"),
    ),
    Chip(
        name="PPU-96GB",
        vendor="t-head",
        memory_mib=96 * GIB,
        memory_bandwidth_bytes_s=2.76 * T,
        flops={"bf16": 118.7 * T, "fp16": 118.7 * T},
        link="ICN, 7 links",
        link_bandwidth_bytes_s=700 * GB_S,
        tdp_w=400,
        source="T-Head Zhenwu 810E announcement, 2026-01-29: 96 GB HBM2e, 700 GB/s, 400 W",
        other_sources={
            "memory_bandwidth_bytes_s": "estimate: 6 stacks of HBM2e at 3.6 Gb/s a pin",
            "flops.bf16": "assumed equal to fp16",
            "flops.fp16": "China Unicom Sanjiangyuan: 1,945 PFLOPS of 16,384 cards, precision not stated",
        },
        aliases=("PPU", "Zhenwu-810E"),
    ),
    Chip(
        name="cpu",
        vendor="generic",
        memory_mib=0,
        memory_bandwidth_bytes_s=8 * GB_S,
        flops={"fp32": 0.064 * T},
        link="shared memory",
        link_bandwidth_bytes_s=16 * GB_S,
        tdp_w=5,
        source="estimate for one core: 2 GHz x 2 AVX2 FMA units; its share of 8 channels of DDR4-3200 among 24 cores",
    ),
)  # fmt: skip

CHIPS: dict[str, Chip] = {chip.name: chip for chip in (*_NVIDIA, *_OTHERS)}
CPU = "cpu"
"""Cores handed out as devices. A request that names no chip never means these."""


def chip(name: str) -> Chip:
    """The chip of that exact name. Raises NotFoundError with the nearest name."""
    found = CHIPS.get(name)
    if found is None:
        raise unknown(name)
    return found


def resolve(name: str, custom: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the chips that `name` stands for, sorted: itself, or all of a family. Case does not matter.

    `custom` are names of chips described elsewhere; they win over the catalogue's. Raises NotFoundError with the
    nearest name.
    """
    wanted = name.casefold()
    own = tuple(sorted(other for other in custom if other.casefold() == wanted))
    if own:
        return (name,) if name in own else own
    found = _BY_NAME.get(wanted)
    if found is None:
        raise unknown(name, custom)
    return found


def unknown(name: str, custom: Iterable[str] = ()) -> NotFoundError:
    """The error for a chip nobody knows, with what was probably meant."""
    spellings = {text.casefold(): text for text in [*_SPELLINGS, *custom]}
    close = difflib.get_close_matches(name.casefold(), spellings, n=1, cutoff=0.5)
    words = f"did you mean {spellings[close[0]]!r}?" if close else f"chips are {', '.join([*CHIPS, *sorted(custom)])}"
    return NotFoundError(f"there is no chip {name!r}; {words}", hint="roadbed schema cluster", field="chip")


def _names() -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for one in CHIPS.values():
        for text in (one.name, *one.aliases):
            found.setdefault(text.casefold(), set()).add(one.name)
    return {text: tuple(sorted(names)) for text, names in found.items()}


_BY_NAME = _names()
_SPELLINGS = tuple(text for one in CHIPS.values() for text in (one.name, *one.aliases))
