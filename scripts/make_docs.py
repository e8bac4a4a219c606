"""Writes what can be read from the code: docs/reference/*.md, and the frozen surfaces under tests/house/surfaces.

    python scripts/make_docs.py            write everything
    python scripts/make_docs.py --check    exit 1 when something on disk is not what the code says

A surface is one fact per line, so that a change of what users rely on is a line in a review. The reference is for
people.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click

from roadbed import errors
from roadbed.cli import COMMANDS, GROUPS, cli
from roadbed.control.app import create_app
from roadbed.control.state import State
from roadbed.gateway.metrics import FAMILIES
from roadbed.gateway.routes import ROUTES
from roadbed.spec.schema import MODELS, schema

ROOT = Path(__file__).resolve().parent.parent
SURFACES = ROOT / "tests" / "house" / "surfaces"
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/make_docs.py; run `make docs` after a change. -->\n"
VARIABLES = {
    "ROADBED_HOME": "State directory; default: `roadbed` in the user's data directory.",
    "ROADBED_URL": "Control plane to talk to instead of the one of the home, such as http://HOST:8001.",
    "ROADBED_TOKEN": "Admin token; default: `admin.token` of the home.",
    "ROADBED_GATEWAY_URL": "Gateway that `chat` and `bench` ask, such as http://HOST:8000.",
    "ROADBED_API_KEY": "API key of `chat` and `bench`; default: one that they make for themselves.",
    "ROADBED_PURE": "When set, gateway, router and scheduler run as plain Python even where they are compiled.",
    "ROADBED_AGENT": "Set by the agent for what it starts: its own process id.",
    "ROADBED_TASK": "Set for the processes of a task: its name.",
    "ROADBED_ATTEMPT": "Set for the processes of a task: which start of it this is, from 1.",
    "ROADBED_DEVICES": "Set for the processes of a task that asked for devices: their indices on the machine.",
}


def main() -> int:
    """Writes, or with --check compares; names what was not current."""
    check = "--check" in sys.argv[1:]
    wanted = everything()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
        click.echo(f"{'stale' if check else 'wrote'} {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


def everything() -> dict[Path, str]:
    """Each file this script owns and what it should hold."""
    surfaces = {
        "cli": cli_surface(),
        "rest": rest_surface(),
        "gateway": gateway_surface(),
        "metrics": metrics_surface(),
        "schema": schema_surface(),
        "environment": iter(sorted(variables())),
        "errors": errors_surface(),
    }
    pages = {
        "cli": cli_page(),
        "api": api_page(),
        "metrics": metrics_page(),
        "config": config_page(),
        "errors": errors_page(),
    }
    found = {SURFACES / f"{name}.txt": "\n".join(lines) + "\n" for name, lines in surfaces.items()}
    return found | {REFERENCE / f"{name}.md": text.rstrip("\n") + "\n" for name, text in pages.items()}


# command line


def commands() -> Iterator[tuple[click.Context, click.Command]]:
    """Every public command with the context its help is drawn in, depth first."""
    root = click.Context(cli, info_name="roadbed", max_content_width=100, terminal_width=100, color=False)
    yield root, cli
    yield from _below(root, cli)


def _below(parent: click.Context, group: click.Group) -> Iterator[tuple[click.Context, click.Command]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        width = {"max_content_width": 100, "terminal_width": 100}
        context = click.Context(command, info_name=name, parent=parent, color=False, **width)
        yield context, command
        if isinstance(command, click.Group):
            yield from _below(context, command)


def cli_surface() -> Iterator[str]:
    """`roadbed scale NAME REPLICAS`, then one line per option."""
    for context, command in commands():
        arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
        yield " ".join([context.command_path, *arguments])
        for option in sorted((p for p in command.params if isinstance(p, click.Option)), key=lambda p: p.opts):
            kind = "flag" if option.is_flag else option.type.name
            marks = [word for word, is_so in (("required", option.required), ("multiple", option.multiple)) if is_so]
            yield " ".join([f"  {'/'.join(sorted([*option.opts, *option.secondary_opts]))}", kind, *marks])


def cli_page() -> str:
    """Every command's own help."""
    parts = [NOTE, "# Command line\n"]
    for title, names in GROUPS.items():
        rows = "".join(f"| [`{name}`](#roadbed-{name}) | {COMMANDS[name]} |\n" for name in names)
        parts.append(f"| {title} | |\n| --- | --- |\n{rows}")
    parts.append("stdout is data, stderr is talk. Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 conflict · ")
    parts[-1] += "5 no capacity · 6 auth · 7 server unreachable · 130 interrupted. `NO_COLOR` is honoured.\n"
    rows = "".join(f"| `{name}` | {VARIABLES.get(name, 'undocumented')} |\n" for name in sorted(variables()))
    parts.append(f"| variable | |\n| --- | --- |\n{rows}")
    for context, command in commands():
        if command is not cli:
            parts.append(f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


# control API


def openapi() -> dict[str, Any]:
    """The control API's own description; the routes never run, so no State is needed."""
    return create_app(cast(State, None)).openapi()


def rest_surface() -> Iterator[str]:
    """`GET /api/events ?after ?limit`, sorted by path."""
    for path, methods in sorted(openapi()["paths"].items()):
        for method, operation in sorted(methods.items()):
            query = sorted(p["name"] for p in operation.get("parameters", []) if p["in"] == "query")
            statuses = ",".join(sorted(operation["responses"]))
            yield " ".join([method.upper(), path, *(f"?{name}" for name in query), statuses])


def api_page() -> str:
    """One table per tag."""
    parts = [NOTE, "# Control API\n"]
    parts.append("Bearer token: `admin.token` of the home. The full OpenAPI is served at `/api/openapi.json`.\n")
    by_tag: dict[str, list[str]] = {}
    for path, methods in sorted(openapi()["paths"].items()):
        for method, operation in sorted(methods.items()):
            text = " ".join(str(operation.get("description") or operation.get("summary") or "").split())
            row = f"| `{method.upper()} {path}` | {text} |\n"
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).append(row)
    for tag, rows in sorted(by_tag.items()):
        parts.append(f"## {tag}\n\n| route | |\n| --- | --- |\n{''.join(rows)}")
    parts.append("## gateway\n\nOpenAI's API and a few routes of our own, on the gateway's port:\n")
    parts.append("".join(f"- `{line}`\n" for line in gateway_surface()))
    return "\n".join(parts)


def gateway_surface() -> Iterator[str]:
    """`POST /v1/chat/completions`, sorted by path."""
    routes = [(path.decode(), method.decode()) for path, (method, _) in ROUTES.items()]
    for path, method in sorted([*routes, ("/v1/models/{id}", "GET")]):
        yield f"{method} {path}"


# metrics, configuration, environment, errors


def metrics_surface() -> Iterator[str]:
    """`counter roadbed_requests_total service endpoint status`."""
    for family in sorted(FAMILIES, key=lambda family: family.name):
        yield " ".join([family.kind, family.name, *family.labels])


def metrics_page() -> str:
    """One row per family."""
    rows = "".join(
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |\n"
        for family in FAMILIES
    )
    text = "Served at `/metrics` of the gateway; any worker answers for all of them.\n"
    return f"{NOTE}\n# Metrics\n\n{text}\n| name | kind | labels | |\n| --- | --- | --- | --- |\n{rows}"


def schema_surface() -> Iterator[str]:
    """The JSON Schema of every kind, words for people left out."""
    yield json.dumps({kind: _bare(schema(kind)) for kind in sorted(MODELS)}, indent=1, sort_keys=True)


def _bare(value: Any, inside_properties: bool = False) -> Any:
    if isinstance(value, dict):
        words = () if inside_properties else ("description", "title")
        return {key: _bare(part, key == "properties") for key, part in value.items() if key not in words}
    return [_bare(part) for part in value] if isinstance(value, list) else value


def config_page() -> str:
    """Every key of every kind a user may write, with its default."""
    parts = [NOTE, "# Files you write\n", "The JSON Schema of each is printed by `roadbed schema KIND`.\n"]
    for kind in MODELS:
        title = "config.yaml" if kind == "config" else f"kind: {kind}"
        rows = "".join(_rows(schema(kind), schema(kind).get("$defs", {}), ""))
        parts.append(f"## {title}\n\n| key | type | default | |\n| --- | --- | --- | --- |\n{rows}")
    return "\n".join(parts)


def _rows(node: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        inner = [part for part in _variants(field, definitions) if "properties" in part]
        for part in inner:
            tag = part["properties"].get("kind", {}).get("const") if len(inner) > 1 else None
            yield from _rows(part, definitions, f"{prefix}{name}{f'[{tag}]' if tag else ''}.")
        if not inner:
            default = "required" if name in node.get("required", []) else f"`{json.dumps(field.get('default'))}`"
            text = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_type(field, definitions)} | {default} | {text} |\n"


def _variants(field: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in field:
        yield definitions[field["$ref"].rpartition("/")[2]]
    for part in [*field.get("anyOf", []), *field.get("oneOf", [])]:
        yield from _variants(part, definitions)


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "examples" in field:
        return f"{field['anyOf'][0]['type']}, or as `{field['examples'][0]}`"
    if "enum" in field:
        return " \\| ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return " \\| ".join(_type(part, definitions) for part in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), definitions)}"
    return str(field.get("type", "value"))


def variables() -> set[str]:
    """ROADBED_* names that stand alone in a string anywhere in the source: those somebody reads or sets."""
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^ROADBED_[A-Z_]+$", node.value))
    return found


def _error_tree(kind: type[errors.RoadbedError], depth: int = 0) -> Iterator[tuple[int, type[errors.RoadbedError]]]:
    yield depth, kind
    for child in sorted(kind.__subclasses__(), key=lambda child: child.code):
        if child.__module__ == errors.__name__:
            yield from _error_tree(child, depth + 1)


def errors_surface() -> Iterator[str]:
    """`E_NOT_FOUND 404 exit 3`."""
    for _, kind in _error_tree(errors.RoadbedError):
        yield f"{kind.code} {kind.http_status} exit {kind.exit_code}"


def errors_page() -> str:
    """The tree with what each code means."""
    rows = "".join(
        f"| {'&nbsp;&nbsp;' * depth}`{kind.code}` | {kind.http_status} | {kind.exit_code} | {kind.__doc__} |\n"
        for depth, kind in _error_tree(errors.RoadbedError)
    )
    text = "The command line prints `error[CODE]: sentence` and `hint: command`; the control API answers\n"
    text += '`{"error": {"code", "message", "field", "hint"}}`. The gateway speaks OpenAI\'s shape instead.\n'
    return f"{NOTE}\n# Errors\n\n{text}\n| code | HTTP | exit | |\n| --- | --- | --- | --- |\n{rows}"


if __name__ == "__main__":
    sys.exit(main())
