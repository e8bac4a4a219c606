"""More replicas, fewer replicas, inside the range."""

import click
import pytest

from roadbed.cli.scale import Count
from tests.cli.conftest import Shell

NAP = (
    "kind: service\nname: nap\nmodel: smollm2-135m-instruct\nreplicas: 0..2\nresources: {cpu: 0.25}\n"
    "scaling: {idle: 60s}\n"
)
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


@pytest.mark.parametrize(
    ("text", "read"), [("0", 0), ("12", 12), ("auto", "auto"), ("-1", None), ("many", None), ("", None)]
)
def test_a_count_is_a_number_or_auto(text: str, read: int | str | None) -> None:
    if read is not None:
        assert Count().convert(text, None, None) == read
        return
    with pytest.raises(click.BadParameter, match="neither a number of replicas nor auto"):
        Count().convert(text, None, None)


@pytest.mark.e2e
def test_by_hand_and_by_load_again(platform: Shell) -> None:
    refused = platform("scale", "chat", "auto")
    assert (refused.code, "has no scaling" in refused.err) == (2, True)
    assert platform("apply", "-f", "-", "-y", stdin=NAP).code == 0
    try:
        assert "asleep" in platform("ps").out
        assert "asleep: no replica until a request comes" in platform("explain", "nap").out
        by_hand = platform("scale", "nap", "1")
        assert "load decides no more until: roadbed scale nap auto" in by_hand.err
        assert "set to 1 by hand" in platform("explain", "nap").out
        again = platform("scale", "nap", "auto")
        assert (again.code, "load decides about nap again: 0..2, now 1 replica" in again.err) == (0, True)
        told = platform("explain", "nap").out
        assert "wants 1 of 0..2 (roadbed" in told
        assert "0 requests held; a start takes" in told
        assert "nap" in platform("status").out
    finally:
        assert platform("stop", "nap", "-y").code == 0
