"""`roadbed fabric paths`: hop by hop, the links connections take between two GPUs, and what they share."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from roadbed.cli.base import dim, human_time, json_option, plural, print_json, print_table, talk
from roadbed.cli.fabric_base import fabric_options, load_fabric
from roadbed.cli.fabric_load import Load, load_options
from roadbed.errors import NoCapacityError, UsageError
from roadbed.fabric.base import NOWHERE, Fabric, Kind
from roadbed.fabric.paths import Paths, choose
from roadbed.fabric.routes import Routes

_MAX_ROWS = 64


@click.command("paths")
@fabric_options
@click.option("--from", "source", required=True, metavar="GPU|NIC", help="Such as gpu-0.")
@click.option("--to", "target", required=True, metavar="GPU|NIC", help="Such as gpu-512.")
@click.option("--flows", type=click.IntRange(1, 4096), default=1, show_default=True,
              help="The same between the next GPUs too: gpu-1 to gpu-513, and so on.")  # fmt: skip
@click.option("--spray-paths", type=click.IntRange(1, 4096), default=128, show_default=True,
              help="Source ports of a sprayed connection.")  # fmt: skip
@load_options
@json_option
def command(
    fabric: str, gpus: int | None, settings: Mapping[str, str], source: str, target: str, flows: int, spray_paths: int,
    as_json: bool, **load: Any,
) -> None:  # fmt: skip
    """Which links do connections take, and where do they collide?

    \b
      roadbed fabric paths --gpus 2048 --from gpu-0 --to gpu-1024 --qps 4
      roadbed fabric paths --fabric dcn_plus --gpus 512 --from gpu-0 --to gpu-256 --flows 32 --paths ecmp
      roadbed fabric paths --gpus 2048 --from gpu-0 --to gpu-1024 --fail nic-0:tor-0 --json

    Paths are those the switches' hashes give the source ports shown.
    """
    chosen = Load(**load)
    network = load_fabric(fabric, gpus=gpus, settings=settings)
    ends = [_cards(network, name, flows, field) for name, field in ((source, "from"), (target, "to"))]
    if flows == 1 and ends[0][0] == ends[1][0]:
        raise UsageError(f"{source} and {target} share a card: no network between them", field="to")
    options = chosen.path_options(network)
    routes = Routes(network, chosen.health(network))
    paths = choose(
        routes, *ends, policy=options.policy, qps=options.qps, seed=options.seed, hash=options.hash,
        spray_paths=spray_paths,
    )  # fmt: skip
    if len(paths.lost):
        at = int(paths.lost[0]) // options.qps
        a, b = (network.node_name(int(end[at])) for end in ends)
        raise NoCapacityError(f"no working way leads from {a} to {b}", hint=f"roadbed fabric check --fabric {fabric}")
    lonely = routes.one_way()
    if len(lonely):
        talk(f"{plural(len(lonely), 'link')} work one way only and are not used: {network.link_name(int(lonely[0]))} …")
    report = _report(network, paths, options.qps, options.policy)
    if as_json:
        print_json(report)
        return
    _show(report)


def _cards(network: Fabric, name: str, num: int, field: str) -> "np.ndarray[Any, np.dtype[np.int32]]":
    """The card of a GPU (or the card itself), and those of the next num − 1."""
    node = network.find_node(name)
    if network.kind[node] not in (Kind.GPU, Kind.NIC):
        raise UsageError(f"{name} is neither a GPU nor a card", hint=f"--{field} gpu-0", field=field)
    first = int(network.index[node])
    pool = network.gpu_nic if network.kind[node] == Kind.GPU else network.nodes(Kind.NIC)
    if first + num > len(pool):
        raise UsageError(
            f"{num} flows from {name} on need {first + num} of its kind; there are {len(pool)}", field=field
        )
    return pool[first : first + num]


def _report(network: Fabric, paths: Paths, qps: int, policy: str) -> dict[str, Any]:
    ways: list[dict[str, Any]] = []
    for at in range(len(paths.hops)):
        links = [network.link_name(int(one)) for one in paths.links_of(at)]
        spread = paths.share[paths.start[at] : paths.start[at + 1]]
        ways.append(
            {
                "flow": at // qps, "queue_pair": at % qps,
                "src_port": None if paths.src_port[at] == NOWHERE else int(paths.src_port[at]),
                "hops": int(paths.hops[at]), "latency_s": float(paths.latency_s[at]), "links": links,
                "shares": None if (spread == 1).all() else [float(one) for one in spread],
            }
        )  # fmt: skip
    load = np.bincount(paths.link, paths.share, network.num_links)
    shared = sorted(
        np.flatnonzero(load > 1 + 1e-9).tolist(), key=lambda link: (-load[link] / network.capacity[link], link)
    )
    return {
        "fabric": network.name, "policy": policy, "connections": len(ways),
        "distinct": len({tuple(one["links"]) for one in ways}), "links_used": int((load > 0).sum()),
        "shared": [{"link": network.link_name(link), "connections": float(load[link])} for link in shared],
        "paths": ways,
    }  # fmt: skip


def _show(report: dict[str, Any]) -> None:
    rows = []
    for one in report["paths"][:_MAX_ROWS]:
        nodes = [link.partition(":")[0] for link in one["links"]] + [one["links"][-1].rpartition(":")[2]]
        if one["shares"] is not None:
            kinds = Counter(node.partition("-")[0] for node in dict.fromkeys(nodes))
            way = f"{nodes[0]} … {nodes[-1]} over " + ", ".join(f"{num} {kind}" for kind, num in kinds.items())
        else:
            way = " → ".join(node.partition("#")[0] for node in nodes)
        rows.append([one["flow"], one["queue_pair"], one["src_port"] or "many", human_time(one["latency_s"]), way])
    print_table(["FLOW", "QP", "SOURCE PORT", "LATENCY", "WAY"], rows, right=(0, 1, 2, 3))
    if len(report["paths"]) > _MAX_ROWS:
        talk(dim(f"… {len(report['paths']) - _MAX_ROWS} more; --json has all"))
    talk(
        dim(
            f"{report['fabric']}, {report['policy']}: {plural(report['connections'], 'connection')} over "
            f"{plural(report['distinct'], 'distinct way')}, {plural(len(report['shared']), 'shared link')}"
        )
    )
    for one in report["shared"][:8]:
        talk(f"{one['connections']:8.3g} connections share {one['link']}")
