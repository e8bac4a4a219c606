"""A service is taken away when somebody said so."""

import pytest

from tests.cli.conftest import Shell

SPEC = "kind: service\nname: gone\nmodel: smollm2-135m-instruct\nreplicas: 0..1\n"


@pytest.mark.e2e
def test_stop(platform: Shell) -> None:
    assert platform("apply", "-f", "-", "-y", stdin=SPEC).code == 0
    unanswered = platform("stop", "gone")
    assert (unanswered.code, "Stop gone" in unanswered.err) == (2, True)
    assert "gone" in platform("ps").out
    said = platform("stop", "gone", "-y", "--json")
    assert said.code == 0, said.err
    assert said.json()["deleted_at"] is not None
    assert "gone" not in platform("ps").out
    again = platform("stop", "gone", "-y")
    assert (again.code, "services: " in again.err) == (3, True)
