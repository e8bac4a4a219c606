"""`roadbed twin`: the data centre as a model, driven by the code that runs the real one."""

from importlib import import_module

import click

TWINS = {
    "schedule": "Fill a cluster up: how much of it can each policy give out?",
    "jobs": "Replay a trace of jobs: who waits how long under which policy?",
    "loans": "Training beside a diurnal service: what is lending worth?",
    "serve": "Replay requests: which router, how many replicas, what breaks first?",
    "validate": "How close is a step-time profile to a measured engine?",
    "from-log": "Yesterday's traffic as a trace, and how good its predictions were.",
}
"""Name → one line of help. The command is `command` in roadbed.cli.twin_<name>."""


class LazyTwin(click.Group):
    """Imports a command when it is asked for: numpy is not needed to print help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(TWINS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in TWINS:
            return None
        found: click.Command = import_module(f"roadbed.cli.twin_{cmd_name.replace('-', '_')}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(TWINS.items()))


@click.command("twin", cls=LazyTwin)
def command() -> None:
    """Try a policy on a trace before it touches anybody's work.

    \b
      roadbed twin schedule --nodes nodes.csv --pods pods.csv --policy roadbed,fgd,bestfit
      roadbed twin jobs --trace philly.csv --load 0.9 --policy roadbed,fair,fifo --report jobs.html
      roadbed twin loans --trace philly.csv --demand qps.csv --days 14
      roadbed twin serve --trace mooncake.jsonl --replicas 4 --profile h200-llama-3.1-8b-fp8 --slo ttft=2s,itl=25ms

    Traces: openb and philly as published, or CSV or JSON lines with submit_s, duration_s and num_devices.
    """
