"""`roadbed quota`: the tree of quotas, what each uses of what it is promised."""

from typing import Any

import click

from roadbed.cli.base import client, confirm, dim, json_option, print_json, print_table, talk


@click.command("quota")
@click.option("--delete", "deleted", metavar="NAME", help="Remove a quota nobody uses.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@json_option
def command(deleted: str | None, yes: bool, as_json: bool) -> None:
    """Quotas, and how they stand.

    \b
      roadbed quota
      roadbed apply -f quota.yaml   makes and changes them: roadbed schema quota
      roadbed quota --delete nlp
    """
    control = client()
    if deleted is not None:
        confirm(f"Delete quota {deleted}?", yes or as_json)
        said = control.delete_quota(deleted)
        if as_json:
            print_json(said)
        talk(f"deleted quota {deleted}")
        return
    rows = control.quotas()
    if as_json:
        print_json({"quotas": rows})
        return
    depth = _depths(rows)
    lines: list[tuple[Any, ...]] = []
    for row in rows:
        name = "  " * depth[row["name"]] + click.style(row["name"], bold=True)
        head = (name, row["strategy"], row["num_waiting"], "yes" if row["borrowing"] else "")
        shares = sorted(row["resources"].items()) or [("", None)]
        for number, (resource, share) in enumerate(shares):
            lines.append((*(head if not number else ("", "", "", "")), resource, *_share(share)))
    print_table(
        ("QUOTA", "STRATEGY", "WAITING", "BORROWS", "RESOURCE", "USED", "MIN", "MAX", "FAIR", "ASKED"),
        lines,
        right=(2, 5, 6, 7, 8, 9),
    )


def _depths(rows: list[dict[str, Any]]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for row in rows:  # parents come first
        depth[row["name"]] = depth.get(row["parent"], -1) + 1 if row["parent"] else 0
    return depth


def _share(share: dict[str, float | None] | None) -> tuple[str, ...]:
    if share is None:
        return ("", "", "", "", "")
    most = dim("-") if share["max"] is None else f"{share['max']:g}"
    return (f"{share['used']:g}", f"{share['min']:g}", most, f"{share['fair']:g}", f"{share['waiting']:g}")
