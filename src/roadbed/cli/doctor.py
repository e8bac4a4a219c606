"""`roadbed doctor`: this machine, line by line, with a fix where one is needed."""

from dataclasses import asdict

import click

from roadbed.cli.base import json_option, print_json, print_table, talk

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@click.command("doctor")
@click.option("--network", is_flag=True, help="Ask the package index too.")
@json_option
def command(network: bool, as_json: bool) -> None:
    """Check this machine. Exit code 1 if something will not work.

    \b
      roadbed doctor
      roadbed doctor --network --json
    """
    from roadbed.cli.checks import examine, look_at
    from roadbed.home import find_home

    findings = examine(look_at(find_home(), network=network))
    failed = [finding for finding in findings if finding.status == "failed"]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        rows = []
        for finding in findings:
            sign, colour = SIGNS[finding.status]
            rows.append((click.style(sign, fg=colour), finding.check, finding.detail, finding.fix))
        print_table(("", "CHECK", "STATUS", "FIX"), rows)
        num_warnings = sum(finding.status == "warning" for finding in findings)
        talk(f"{len(findings)} checks, {len(failed)} failed, {num_warnings} with a note")
    if failed:
        click.get_current_context().exit(1)
