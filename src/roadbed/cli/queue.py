"""`roadbed queue`: what waits for a place, in order of turn, and why."""

import time

import click

from roadbed.cli.base import age, client, json_option, print_json, print_table, talk


@click.command("queue")
@click.option("--quota", help="Of this quota alone.")
@json_option
def command(quota: str | None, as_json: bool) -> None:
    """What waits for a place, each quota's in order of turn.

    \b
      roadbed queue
      roadbed queue --quota nlp
      roadbed explain NAME          the whole story of one
    """
    rows = [row for row in client().queue() if quota is None or row["quota"] == quota]
    if as_json:
        print_json({"queue": rows, "at": time.time()})
        return
    if not rows:
        talk("nothing waits")
        return
    print_table(
        ("QUOTA", "#", "NAME", "PRIORITY", "PROCESSES", "DEVICES", "CORES", "WAITS", "BECAUSE"),
        [
            (
                row["quota"], row["position"], click.style(row["name"], bold=True), row["priority"],
                row["num_processes"], f"{row['devices']:g}", f"{row['cpu']:g}", age(row["since"]),
                f"{row['reason']}: {row['message']}" if row["message"] else row["reason"],
            )
            for row in rows
        ],
        right=(1, 3, 4, 5, 6),
    )  # fmt: skip
