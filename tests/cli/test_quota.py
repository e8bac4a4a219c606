"""The tree of quotas: made by files, shown as it stands, deleted when nobody uses it."""

import time

import pytest

from roadbed.cli.quota import _depths, _share
from tests.cli.conftest import Shell

TREE = """
kind: quota
name: research
resources: {cpu: 1..}
---
kind: quota
name: nlp
parent: research
resources: {cpu: {min: 0.5, max: 1}}
strategy: fifo
"""


def test_depth_follows_parents() -> None:
    rows = [{"name": "a", "parent": None}, {"name": "b", "parent": "a"}, {"name": "c", "parent": "b"}]
    assert _depths([*rows, {"name": "d", "parent": None}]) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_a_share_without_ceiling_is_a_dash() -> None:
    share = {"used": 1.5, "min": 1.0, "max": None, "fair": 2.0, "waiting": 0.0}
    assert _share(share)[:2] == ("1.5", "1")
    assert "-" in _share(share)[2]
    assert _share({**share, "max": 4.0})[2] == "4"
    assert _share(None) == ("",) * 5


@pytest.mark.e2e
def test_quota(platform: Shell) -> None:
    assert platform("quota").out.split()[:2] == ["QUOTA", "STRATEGY"]
    applied = platform("apply", "-f", "-", "-y", stdin=TREE)
    assert applied.code == 0, applied.err
    deadline = time.monotonic() + 20
    while "  nlp" not in platform("quota").out:  # the scheduler hears of it on its next pass
        assert time.monotonic() < deadline
    lines = platform("quota").out.splitlines()
    assert any(line.startswith("research") for line in lines)
    [nlp] = [line.split() for line in lines if line.startswith("  nlp")]
    assert (nlp[1], nlp[3:8]) == ("fifo", ["cpu", "0", "0.5", "1", "0"])
    rows = {row["name"]: row for row in platform("quota", "--json").json()["quotas"]}
    assert (rows["nlp"]["parent"], rows["nlp"]["resources"]["cpu"]["max"]) == ("research", 1.0)
    refused = platform("quota", "--delete", "research", "-y")
    assert (refused.code, "has nlp below it" in refused.err) == (4, True)
    for name in ("nlp", "research"):
        assert f"deleted quota {name}" in platform("quota", "--delete", name, "-y").err
    assert platform("quota", "--delete", "nlp", "-y").code == 3
