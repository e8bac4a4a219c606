"""The table and its exit code."""

import pytest

from tests.cli.conftest import Shell


def test_doctor_on_a_home_where_nothing_runs(shell: Shell) -> None:
    said = shell("doctor")
    assert said.code == 0, said.out
    assert "CHECK" in said.out
    assert "checks, 0 failed" in said.err
    assert not shell.home.database.exists(), "looking changes nothing"


def test_a_failed_check_fails_the_command(shell: Shell) -> None:
    shell.home.config.write_text("gatway: {}\n")
    said = shell("doctor", "--json")
    assert said.code == 1
    facts = said.json()
    assert facts["ok"] is False
    (failed,) = [check for check in facts["checks"] if check["status"] == "failed"]
    assert (failed["check"], failed["fix"]) == ("config", "roadbed schema config")


@pytest.mark.e2e
def test_doctor_beside_a_platform(platform: Shell) -> None:
    facts = platform("doctor", "--json").json()
    found = {check["check"]: check["status"] for check in facts["checks"]}
    assert facts["ok"]
    assert found["agent"] == found["control"] == found["gateway"] == found["service chat"] == "ok"
