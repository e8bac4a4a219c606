"""The `roadbed` command. One file per command, imported only when it is used: `--help` costs click and nothing more.

stdout is data, stderr is talk; `--json` prints what the API said. Exit codes are those of errors.py, and 130 when
interrupted.
"""

import sys
from importlib import import_module

import click

from roadbed import __version__

COMMANDS: dict[str, str] = {
    "up": "Start the platform on this machine.",
    "down": "Stop it and everything it started.",
    "status": "Is it there, is it well?",
    "apply": "Make services, tasks, quotas, tenants and keys what a file says.",
    "ps": "Services, their replicas, and tasks.",
    "queue": "What waits for a place, and why.",
    "quota": "Quotas, and how they stand.",
    "nodes": "The machines: what is free, what runs there.",
    "cordon": "Take a machine out of the pool, or back in.",
    "logs": "Output of a replica, a task, a gateway worker or the control plane.",
    "explain": "Why a service or task is in its state, and what comes next.",
    "stop": "Stop a service or a task.",
    "scale": "Change how many replicas a service has.",
    "chat": "Talk to a model.",
    "models": "Models: what is here, fetch one, remove one.",
    "keys": "API keys: list, create, revoke.",
    "usage": "Who used what, and what it cost.",
    "bench": "Measure a service: open loop, percentiles, SLO attainment.",
    "twin": "Replay a trace on modelled machines, policies side by side.",
    "fabric": "Plan, check, load and break a training network.",
    "schema": "JSON Schema of the files you write.",
    "doctor": "Check this machine, with a fix per line.",
}
"""Name → one line of help. The command is `command` in roadbed.cli.<name>."""
GROUPS = {
    "Platform": ("up", "down", "status", "doctor"),
    "Work": ("apply", "ps", "logs", "explain", "scale", "stop"),
    "Pool": ("queue", "quota", "nodes", "cordon"),
    "Use": ("chat", "models", "keys", "usage", "bench", "schema"),
    "Try": ("twin", "fabric"),
}
HIDDEN = {"_control": "roadbed.cli.control_process"}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = HIDDEN.get(cmd_name) or (f"roadbed.cli.{cmd_name}" if cmd_name in COMMANDS else None)
        if module is None:
            return None
        found: click.Command = import_module(module).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1) if args else []
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="State lives in $ROADBED_HOME. Start with: roadbed up",
)
@click.version_option(__version__, message="roadbed %(version)s")
def cli() -> None:
    """The data centre as one AI computer.

    \b
      roadbed up                     start here: a model, served
      roadbed chat "Why rails?"      talk to it
      roadbed apply -f service.yaml  serve another one
    """


def main() -> None:
    """Runs the command; errors become `error[CODE]: …` and `hint: …` on stderr, never a traceback."""
    from roadbed.cli.base import run

    sys.exit(run(cli))
