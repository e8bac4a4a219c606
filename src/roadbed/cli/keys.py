"""`roadbed keys`: API keys. A secret is printed once, alone on stdout, so that a script can keep it."""

import time
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import Duration, age, client, did_you_mean, json_option, print_json, print_table, state, talk
from roadbed.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient


@click.group("keys", invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option("-a", "--all", "revoked", is_flag=True, help="Revoked ones too.")
@json_option
@click.pass_context
def command(ctx: click.Context, tenant: str | None, revoked: bool, as_json: bool) -> None:
    """API keys: list (default), create, revoke; and the tenants they belong to.

    \b
      roadbed keys
      export ROADBED_API_KEY=$(roadbed keys create laptop)
      roadbed keys create ci --tenant research --expires 30d --rpm 60 --budget 10
      roadbed keys revoke ci
    """
    if ctx.invoked_subcommand is None:
        _list(tenant, revoked, as_json)


@command.command("list")
@click.option("--tenant", help="Only this tenant's.")
@click.option("-a", "--all", "revoked", is_flag=True, help="Revoked ones too.")
@json_option
def list_command(tenant: str | None, revoked: bool, as_json: bool) -> None:
    """Keys, without their secrets (nobody has them)."""
    _list(tenant, revoked, as_json)


@command.command("create")
@click.argument("name")
@click.option("--tenant", default="default", show_default=True, help="Who is billed.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["inference", "usage:read"]), help="Default: both.")
@click.option("--model", "models", multiple=True, help="Only this model; several times for several. Default: all.")
@click.option("--expires", "expires_in", type=Duration(), help="Lifetime, such as 30d.")
@click.option("--rpm", type=click.IntRange(1), help="Requests per minute.")
@click.option("--tpm", type=click.IntRange(1), help="Tokens per minute.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests at once.")
@click.option("--budget", type=click.FloatRange(0, min_open=True), help="CNY per month.")
@json_option
def create_command(
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    expires_in: float | None,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    budget: float | None,
    as_json: bool,
) -> None:
    """Make a key and print its secret: this is the only time it is shown."""
    limits = {
        "requests_per_minute": rpm,
        "tokens_per_minute": tpm,
        "concurrency": concurrency,
        "monthly_budget_cny": budget,
    }
    fields: dict[str, Any] = {"tenant": tenant, "models": list(models), "limits": limits}
    if scopes:
        fields["scopes"] = list(scopes)
    if expires_in is not None:
        fields["expires_in"] = expires_in
    made = client().create_key(name, **fields)
    if as_json:
        print_json(made)
        return
    talk(f"key {name} ({made['key']['id']}) of tenant {tenant}; keep it, it is shown once:")
    click.echo(made["secret"])


@command.command("revoke")
@click.argument("key")
@json_option
def revoke_command(key: str, as_json: bool) -> None:
    """Revoke a key by its id or its name; gateways refuse it within a second."""
    control = client()
    row = control.revoke_key(find_key(control, key)["id"])
    if as_json:
        print_json(row)
    talk(f"revoked {row['name']} ({row['id']})")


@command.command("tenants")
@json_option
def tenants_command(as_json: bool) -> None:
    """Tenants and their limits (`roadbed apply` makes and changes them)."""
    rows = client().tenants()
    if as_json:
        print_json({"tenants": rows})
        return
    print_table(("TENANT", "LIMITS", "AGE"), [(r["name"], _limits(r["limits"]), age(r["created_at"])) for r in rows])


def find_key(control: "ControlClient", text: str) -> dict[str, Any]:
    """By id, by name, or by the key's own text. Raises NotFoundError, ConflictError for a name of several."""
    rows = control.api_keys(revoked=True)
    key_id = text.split("_")[1] if text.startswith("rb_") and text.count("_") >= 1 else text
    for row in rows:
        if row["id"] == key_id:
            return row
    named = [row for row in rows if row["name"] == text and row["revoked_at"] is None]
    if len(named) > 1:
        ids = ", ".join(row["id"] for row in named)
        raise ConflictError(
            f"{len(named)} keys are named {text!r}: {ids}", hint=f"roadbed keys revoke {named[0]['id']}"
        )
    if not named:
        known = sorted({row["name"] for row in rows if row["revoked_at"] is None})
        raise NotFoundError(f"there is no live key {text[:40]!r}{did_you_mean(text, known)}", hint="roadbed keys")
    return named[0]


def _list(tenant: str | None, revoked: bool, as_json: bool) -> None:
    rows = client().api_keys(tenant=tenant, revoked=revoked)
    if as_json:
        print_json({"keys": rows})
        return
    if not rows:
        talk("no key yet; try: roadbed keys create laptop")
        return
    headers = ("NAME", "ID", "TENANT", "STATE", "SCOPES", "MODELS", "LIMITS", "LAST USED", "AGE")
    print_table(headers, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    used = "never" if row["last_used_at"] is None else f"{age(row['last_used_at'])} ago"
    models = ", ".join(row["models"]) or "all"
    head = (row["name"], row["id"], row["tenant"], state(_state(row)), ", ".join(row["scopes"]), models)
    return (*head, _limits(row["limits"]), used, age(row["created_at"]))


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= time.time() else "live"


def _limits(limits: dict[str, Any]) -> str:
    units = {
        "requests_per_minute": "req/min",
        "tokens_per_minute": "tok/min",
        "concurrency": "at once",
        "monthly_budget_cny": "CNY/month",
    }
    return ", ".join(f"{limits[name]} {unit}" for name, unit in units.items() if limits.get(name) is not None) or "none"
