"""`roadbed status`: the platform in one look, and what is missing when it is not well."""

import contextlib
from typing import TYPE_CHECKING, Any

import click

from roadbed import __version__
from roadbed.cli.base import age, client, human_bytes, json_option, plural, print_json, print_table, state
from roadbed.errors import RoadbedError, UnreachableError

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient


@click.command("status")
@json_option
def command(as_json: bool) -> None:
    """Is it there, is it well? Exit code 7 when nothing answers, 1 when something is missing.

    \b
      roadbed status
      roadbed status --json
    """
    control, said = _ask()
    facts = {**_where(control.url), **control.version(check=False), **said}
    facts["missing"] = missing(said)
    if as_json:
        print_json(facts)
    else:
        _show(facts)
    if not said["healthy"]:
        click.get_current_context().exit(1)


def _ask() -> "tuple[ControlClient, dict[str, Any]]":
    """The API's answer; when control is away but its agent is not, the error says so."""
    from roadbed.home import find_home
    from roadbed.runtime.local.client import SyncAgent

    try:
        control = client()
        return control, control.status()
    except UnreachableError as error:
        try:
            info = SyncAgent(find_home()).ping()
        except RoadbedError:
            raise error from None
        times = plural(info.num_control_restarts, "time")
        raise UnreachableError(
            f"the agent (pid {info.pid}) runs, but its control plane does not answer; restarted {times} so far",
            hint="roadbed logs control",
        ) from error


def missing(said: dict[str, Any]) -> list[str]:
    """What keeps the platform from being healthy, one sentence each."""
    gaps = [
        f"service {row['name']}: {row['num_ready']} of {plural(row['num_desired'], 'replica')} ready"
        for row in said["services"]
        if row["num_ready"] < row["num_needed"]
    ]
    workers = [row for row in said["processes"] if row["labels"].get("noun") == "gateway" and row["state"] == "running"]
    if not workers:
        gaps.append("no gateway worker runs")
    elif not said["healthy"] and not gaps:
        gaps.append(f"only {plural(len(workers), 'gateway worker')} of those configured")
    return gaps


def _where(api_url: str) -> dict[str, Any]:
    """URLs, and facts of the agent where it is on this machine."""
    from roadbed.cli.access import gateway_url
    from roadbed.home import find_home
    from roadbed.runtime.local.client import SyncAgent

    home = find_home()
    facts: dict[str, Any] = {"console_url": api_url, "gateway_url": None, "home": str(home.root), "started_at": None}
    with contextlib.suppress(RoadbedError):  # a remote platform: its agent is not ours to ask
        facts["gateway_url"] = gateway_url()
    with contextlib.suppress(RoadbedError):
        facts["started_at"] = SyncAgent(home).ping().started_at
    return facts


def _show(facts: dict[str, Any]) -> None:
    node = facts["node"]
    up = "" if facts["started_at"] is None else f", up {age(facts['started_at'])}"
    health = click.style("healthy", fg="green") if facts["healthy"] else click.style("not healthy", fg="yellow")
    skew = "" if facts["version"] == __version__ else f" (this command is {__version__})"
    click.echo(f"{health}{up}, roadbed {facts['version']}{skew}")
    for gap in facts["missing"]:
        click.echo(click.style(f"  missing: {gap}", fg="yellow"))
    click.echo(f"console  {facts['console_url']}")
    click.echo(f"API      {facts['gateway_url'] or '-'}/v1")
    click.echo(f"state    {facts['home']}")
    reserved, total = human_bytes(node["memory_reserved_bytes"]), human_bytes(node["memory_bytes"])
    click.echo(f"node     {node['cpu_reserved']:g} of {node['cpu']:g} cores and {reserved} of {total} handed out\n")
    rows = [(row["name"], state(row["state"]), row["pid"], age(row["started_at"])) for row in facts["processes"]]
    print_table(("PROCESS", "STATE", "PID", "AGE"), rows, right=(2,))
    scaled = [row for row in facts["services"] if row["scaling"] is not None]
    if scaled:
        click.echo("")
        print_table(
            ("SERVICE", "READY", "WANTS", "RANGE", "HELD", "BECAUSE"), [_scaled(row) for row in scaled], right=(1, 2, 4)
        )
    if not facts["services"]:
        click.echo("\nnothing is served yet; try: roadbed apply -f service.yaml   (roadbed schema service)")


def _scaled(row: dict[str, Any]) -> tuple[Any, ...]:
    """A service whose number load decides."""
    said = row["scaling"]
    span = f"{said['num_min']}..{said['num_max']}"
    return (row["name"], row["num_ready"], row["num_desired"], span, said["num_waiting"], said["why"])
