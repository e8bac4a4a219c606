"""Who waits, in order of turn, and why."""

import pytest

from tests.cli.conftest import Shell


@pytest.mark.e2e
def test_queue(platform: Shell) -> None:
    empty = platform("queue")
    assert (empty.code, empty.out, "nothing waits" in empty.err) == (0, "", True)
    (node,) = platform("nodes", "--json").json()["nodes"]
    # the service `chat` holds a core: all cores at once are not to be had
    wide = f"kind: task\nname: wide\ncommand: 'true'\nresources: {{cpu: {node['cpu']}, memory: 64MiB}}\n"
    assert platform("apply", "-f", "-", "-y", "-d", stdin=wide).code == 0
    try:
        header, line = platform("queue").out.splitlines()
        assert header.split()[:4] == ["QUOTA", "#", "NAME", "PRIORITY"]
        assert line.split()[:5] == ["default", "1", "wide", "5", "1"]
        (entry,) = platform("queue", "--json").json()["queue"]
        assert (entry["noun"], entry["name"], entry["position"], entry["cpu"]) == ("task", "wide", 1, node["cpu"])
        assert "1 node → 0 with" in entry["message"]
        assert "nothing waits" in platform("queue", "--quota", "nosuch").err
        assert "wide" in platform("ps").out
        assert "would" not in platform("explain", "wide").out, "a service is never made to leave"
    finally:
        assert platform("stop", "wide", "-y").code == 0
    assert platform("queue").out == ""
