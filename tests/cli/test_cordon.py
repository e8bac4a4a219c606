"""A machine taken out of the pool and put back."""

import pytest

from tests.cli.conftest import Shell


def test_undo_and_drain_contradict_each_other(shell: Shell) -> None:
    refused = shell("cordon", "local", "--undo", "--drain")
    assert (refused.code, "contradict" in refused.err) == (2, True)
    assert shell("cordon", "local", "--risk", "1.5").code == 2


@pytest.mark.e2e
def test_cordon_and_back(platform: Shell) -> None:
    try:
        said = platform("cordon", "local")
        assert (said.code, said.out, "local is cordoned" in said.err) == (0, "", True)
        assert platform("nodes").out.splitlines()[1].split()[:2] == ["local", "cordoned"]
        assert platform("ps").out.splitlines()[1].split()[2:4] == ["ready", "1/1"], "what runs goes on"
        noted = platform("cordon", "local", "--risk", "0.25", "--json").json()
        assert (noted["cordoned"], noted["risk"]) == (True, 0.25)
    finally:
        back = platform("cordon", "local", "--undo", "--risk", "0")
    assert "takes work again" in back.err
    assert platform("nodes").out.splitlines()[1].split()[:2] == ["local", "ready"]


@pytest.mark.e2e
def test_a_machine_nobody_knows(platform: Shell) -> None:
    refused = platform("cordon", "gpu017")
    assert (refused.code, "nodes: local" in refused.err, "hint: roadbed nodes" in refused.err) == (3, True, True)
