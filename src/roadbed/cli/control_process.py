"""`roadbed _control`: the control process, as the agent starts it. Where control and console are put together."""

from pathlib import Path

import click


@click.command("_control", hidden=True)
@click.option("--home", type=click.Path(path_type=Path), required=True, help="State directory.")
def command(home: Path) -> None:
    """Runs the control plane and the console until told to stop."""
    from roadbed.console.app import mount
    from roadbed.control.main import serve
    from roadbed.home import Home

    serve(Home(home), mount=mount)
