"""More replicas, fewer replicas, inside the range."""

import pytest

from tests.cli.conftest import Shell

SPEC = "kind: service\nname: wide\nmodel: smollm2-135m-instruct\nreplicas: 0..2\nresources: {cpu: 0.25}\n"


@pytest.mark.e2e
def test_scale_up_and_down(platform: Shell) -> None:
    assert platform("apply", "-f", "-", "-y", stdin=SPEC).code == 0
    try:
        assert "wide" in platform("ps").out
        up = platform("scale", "wide", "2", "--json")
        assert up.code == 0, up.err
        assert [replica["state"] for replica in up.json()["replicas"]] == ["ready", "ready"]
        assert "wide-1           ready" in up.err
        refused = platform("scale", "wide", "3")
        assert (refused.code, "outside 0..2" in refused.err) == (2, True)
        down = platform("scale", "wide", "0")
        assert (down.code, "wide has 0 replicas" in down.err) == (0, True)
        detached = platform("scale", "wide", "1", "-d")
        assert "wants 1 replica" in detached.err
    finally:
        assert platform("stop", "wide", "-y").code == 0


@pytest.mark.e2e
@pytest.mark.parametrize(("args", "code"), [(("nosuch", "1"), 3), (("chat", "-1"), 2), (("chat", "many"), 2)])
def test_wrong_usage(platform: Shell, args: tuple[str, ...], code: int) -> None:
    assert platform("scale", *args).code == code
