"""Down where nothing is up; the rest of its life is in test_up."""

from roadbed.home import Home
from tests.cli.conftest import Shell, pids_of


def test_down_where_nothing_runs(shell: Shell) -> None:
    said = shell("down")
    assert (said.code, said.out) == (0, "")
    assert "no platform runs in" in said.err


def test_down_of_a_home_that_does_not_exist(shell: Shell) -> None:
    nowhere = Shell(Home(shell.home.root / "nowhere"))
    assert nowhere("down").code == 0
    assert not nowhere.home.root.exists()
    assert pids_of(nowhere.home) == []
