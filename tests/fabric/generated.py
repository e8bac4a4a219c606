"""Topology files laid out as SimAI's generator lays them out, for any counts: written from its documentation.

All GPUs, then nvswitches, then ToRs (the first ToR of every pair, then the second ones), then spines (halves per plane).
"""


def generate(
    gpus: int, per_server: int = 8, per_tor: int = 16, spines: int = 4, *, rails: bool, dual_tor: bool, dual_plane: bool
) -> str:
    """The file. per_tor: cards of a ToR."""
    servers = gpus // per_server
    copies = 2 if dual_tor else 1
    group = per_server if rails else 1
    segment_gpus = per_tor * group
    segments = -(-gpus // segment_gpus)
    tors = [gpus + servers + at for at in range(segments * group * copies)]
    tops = [tors[-1] + 1 + at for at in range(spines)]
    half = len(tors) // copies
    lines = []
    for gpu in range(gpus):
        lines.append(f"{gpu} {gpus + gpu // per_server} 2880Gbps 0.000025ms 0")
        tor = gpu // segment_gpus * group + (gpu % per_server if rails else 0)
        lines += [
            f"{gpu} {tors[copy * half + tor]} {200 if dual_tor else 400}Gbps 0.0005ms 0" for copy in range(copies)
        ]
    for at, tor in enumerate(tors):
        plane = at // half
        mine = tops[plane * spines // 2 : (plane + 1) * spines // 2] if dual_plane else tops
        lines += [f"{tor} {top} 400Gbps 0.0005ms 0" for top in mine]
    num = tops[-1] + 1
    head = f"{num} {per_server} {servers} {len(tors) + spines} {len(lines)} H100"
    return "\n".join([head, " ".join(str(node) for node in range(gpus, num)) + " ", *lines]) + "\n"
