"""`roadbed apply`: files → plan → confirm → stored → followed until it is so.

The plan is the control plane's answer, so what is shown is what would be done; the diff shows only what the file says
or what changes, not every default.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import client, confirm, dim, json_option, plural, print_json, talk
from roadbed.cli.follow import Follower
from roadbed.errors import NoCapacityError, RoadbedError, UsageError

if TYPE_CHECKING:
    from roadbed.spec.load import AnySpec

SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "unchanged": ("=", "bright_black")}


@click.command("apply")
@click.option("-f", "--file", "sources", multiple=True, required=True, help="A file, a directory, or - for stdin.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("-d", "--detach", is_flag=True, help="Don't wait until services are ready.")
@click.option("--wait", "wait_s", default=600.0, show_default=True, help="Seconds to wait for services.")
@json_option
def command(sources: Sequence[str], yes: bool, dry_run: bool, detach: bool, wait_s: float, as_json: bool) -> None:
    """Make services, tasks, quotas, tenants and keys what files say.

    \b
      roadbed apply -f service.yaml
      roadbed apply -f deploy/ --dry-run
      echo '{kind: tenant, name: research}' | roadbed apply -f - -y

    Exit code 5 when a service can't be placed, 1 when it keeps failing.
    """
    specs = [spec for source in sources for spec in _read(source)]
    bodies = [spec.model_dump(mode="json") for spec in specs]
    control = client()
    plans = control.plan(bodies)
    facts: dict[str, Any] = {"plans": plans, "applied": [], "ready": None}
    if not as_json:
        for spec, plan in zip(specs, plans, strict=True):
            show_plan(plan, spec.model_fields_set)
    changes = [plan for plan in plans if plan["change"] != "unchanged"]
    if not changes:
        talk("nothing to change")
    elif not dry_run:
        if "-" in sources and not yes:
            raise UsageError("stdin holds the specs, so nobody can be asked", hint="roadbed apply -f - -y")
        confirm(f"Apply {plural(len(changes), 'change')}?", yes)
        follower = Follower(control)
        facts["applied"] = control.apply(bodies)
        names = [plan["name"] for plan in changes if plan["kind"] == "service"]
        _show_secrets(facts["applied"], as_json)
        if names and not detach:
            _follow(follower, names, wait_s, facts, as_json)
    if as_json:
        print_json(facts)


def show_plan(plan: dict[str, Any], written: set[str]) -> None:
    """`~ service chat`, then `field: before → after`, then what follows from it."""
    sign, colour = SIGNS[plan["change"]]
    click.echo(click.style(f"{sign} {plan['kind']} {plan['name']}", fg=colour, bold=True))
    for change in plan["fields"]:
        if plan["change"] == "update":
            before = click.style(_short(change["before"]), fg="red")
            click.echo(f"    {change['field']}: {before} → {click.style(_short(change['after']), fg='green')}")
        elif change["field"].partition(".")[0] in written:
            for name, value in _leaves(change["field"], change["after"]):
                click.echo(f"    {name}: {_short(value)}")
    for effect in plan["effects"]:
        click.echo(dim(f"    {effect}"))


def _read(source: str) -> "list[AnySpec]":
    from roadbed.spec.load import load_path, load_text

    return load_text(sys.stdin.read(), "stdin") if source == "-" else load_path(Path(source))


def _show_secrets(applied: list[dict[str, Any]], as_json: bool) -> None:
    for done in applied:
        if done["secret"] and not as_json:
            click.echo(f"key {done['plan']['name']}  {done['secret']}  (shown once)")


def _follow(follower: Follower, names: list[str], wait_s: float, facts: dict[str, Any], as_json: bool) -> None:
    """Waits for the services; the JSON is printed whatever comes of it."""
    try:
        facts["ready"] = follower.until_ready(names, wait_s)
        if not facts["ready"]:
            raise NoCapacityError(
                f"not ready after {wait_s:g} s: {', '.join(names)}", hint=f"roadbed explain {names[0]}"
            )
    except RoadbedError:
        facts["ready"] = False
        if as_json:
            print_json(facts)
        raise
    except KeyboardInterrupt:
        talk(f"\ndetached; it goes on without you: roadbed explain {names[0]} · undo: roadbed stop {names[0]}")
        raise
    talk(click.style("ready: ", fg="green") + ", ".join(names))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is set below a field, by its dotted name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part)
    elif value is not None:
        yield name, value


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
