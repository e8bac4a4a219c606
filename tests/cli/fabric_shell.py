"""Runs a fabric command in this process, as `main` would."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from roadbed.cli import cli
from roadbed.cli.base import run


@dataclass
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def roadbed(capsys: pytest.CaptureFixture[str], *args: str) -> Said:
    """`roadbed ARGS`."""
    capsys.readouterr()
    code = run(cli, args)
    said = capsys.readouterr()
    return Said(code, said.out, said.err)
