"""`roadbed down`: stops the platform; nothing it started is left. State stays."""

import click

from roadbed.cli.base import talk
from roadbed.errors import UnreachableError


@click.command("down")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds before giving up.")
def command(timeout_s: float) -> None:
    """Stop the platform and everything it started. Models, keys and usage stay."""
    from roadbed.home import find_home
    from roadbed.runtime.local.client import SyncAgent

    home = find_home()
    agent = SyncAgent(home)
    try:
        num_running = sum(process.state != "exited" for process in agent.list())
        agent.shutdown(timeout_s=timeout_s)
    except UnreachableError:
        talk(f"no platform runs in {home.root}")
        return
    home.run.joinpath("platform.json").unlink(missing_ok=True)
    talk(f"stopped {num_running} processes; state stays in {home.root}")
