"""`roadbed fabric`: the training network as data: draw it up, check it, load it, break it, price it."""

from importlib import import_module

import click

FABRICS = {
    "new": "Draw up a network: a family's counts as a file you can edit.",
    "show": "What it is made of: switches, cables, bisection, paths, cost; a picture.",
    "check": "Hold it against its blueprint: ports, wiring, islands.",
    "paths": "Which links do connections take, and where do they collide?",
    "collective": "How long do all-reduce and its kin take, by size?",
    "step": "How long is a training step, and what of it is communication?",
    "break": "Cut a link, a ToR or a card while traffic runs.",
    "compare": "Designs side by side under one training job.",
    "export": "Write it for SimAI, as GraphML, SVG or YAML.",
    "import": "Read SimAI's topology file.",
}
"""Name → one line of help. The command is `command` in roadbed.cli.fabric_<name>."""


class LazyFabric(click.Group):
    """Imports a command when it is asked for: numpy is not needed to print help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(FABRICS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in FABRICS:
            return None
        found: click.Command = import_module(f"roadbed.cli.fabric_{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(FABRICS.items()))


@click.command("fabric", cls=LazyFabric)
def command() -> None:
    """Plan a training network before it is cabled, and see what would break it.

    \b
      roadbed fabric new hpn7 --gpus 448 --out pod.yaml
      roadbed fabric show --fabric pod.yaml --svg pod.svg
      roadbed fabric check --fabric pod.yaml

    A network is a family's name (hpn7, dcn_plus, rail_only, ...) or a file: a recipe, a hand-written network, or
    SimAI's topology format.
    """
