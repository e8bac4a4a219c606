"""`roadbed nodes`: the machines of the pool, what they have free, and who is on them."""

from typing import Any

import click

from roadbed.cli.base import client, dim, json_option, print_json, print_table, state

FULL, PART, FREE = "█", "▄", "░"
MAP_WIDTH = 32
"""Devices drawn one by one; more are counted."""


@click.command("nodes")
@click.option("--probe", is_flag=True, help="Look at this machine directly; the platform need not run.")
@json_option
def command(probe: bool, as_json: bool) -> None:
    """Machines: devices (█ taken, ▄ part of it, ░ free), cores, memory, and what runs there.

    \b
      roadbed nodes
      roadbed nodes --probe         what is in this machine: chips, links, NUMA
      roadbed cordon NODE           takes nothing new from now on
    """
    if probe:
        _probe(as_json)
        return
    rows = client().nodes()
    if as_json:
        print_json({"nodes": rows})
        return
    print_table(
        ("NODE", "STATE", "CHIP", "DEVICES", "FREE", "CORES FREE", "MEMORY FREE", "RISK", "RUNS"),
        [_row(row) for row in rows],
        right=(4, 5, 6, 7),
    )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    word = (
        "draining" if row["drain"] else "cordoned" if row["cordoned"] else "ready" if row["schedulable"] else "failed"
    )
    names = [
        f"{one['name']}" + (f" ×{one['num_processes']}" if one["num_processes"] > 1 else "") for one in row["holders"]
    ]
    runs = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return (
        click.style(row["name"], bold=True), state(word), row["chip"] or dim("none"), device_map(row["free"]),
        f"{sum(row['free']):g} of {row['num_devices']}", f"{row['cpu_free']:g} of {row['cpu']:g}",
        f"{row['memory_free_mib'] / 1024:.1f} of {row['memory_mib'] / 1024:.1f} GiB", f"{row['risk']:g}", runs,
    )  # fmt: skip


def device_map(free: list[float]) -> str:
    """One character per device."""
    drawn = "".join(FREE if share >= 1 else FULL if share <= 0 else PART for share in free[:MAP_WIDTH])
    return drawn + (f" +{len(free) - MAP_WIDTH}" if len(free) > MAP_WIDTH else "")


def _probe(as_json: bool) -> None:
    import msgspec

    from roadbed.hardware.probe import probe

    machine = probe()
    if as_json:
        print_json(msgspec.to_builtins(machine))
        return
    click.echo(
        f"{machine.num_cpus} CPUs on {max(1, len(machine.numa_cpus))} NUMA nodes, {machine.memory_mib / 1024:.1f} GiB"
    )
    if machine.devices:
        print_table(
            ("#", "CHIP", "MEMORY", "ISLAND", "NUMA", "PCI", "NAME"),
            [
                (
                    one.index, one.chip, f"{one.memory_mib / 1024:.0f} GiB", one.island, one.numa_node,
                    one.pci_address, one.name,
                )
                for one in machine.devices
            ],
            right=(0, 2, 3, 4),
        )  # fmt: skip
    for warning in machine.warnings:
        click.echo(click.style("note: ", fg="yellow") + warning, err=True)
