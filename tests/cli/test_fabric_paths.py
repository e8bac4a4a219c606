"""`fabric paths`: hop by hop, shared links, unreachable pairs."""

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]
ACROSS = ("--gpus", "2048", "--from", "gpu-0", "--to", "gpu-1024")


def test_queue_pairs_hop_by_hop(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "paths", *ACROSS, "--qps", "4")
    assert said.code == 0
    lines = said.out.splitlines()
    assert len(lines) == 5
    assert all("nic-0 → tor-" in line and "nic-1024" in line for line in lines[1:])
    assert "4 connections over 4 distinct ways" in said.err
    assert "2 connections share nic-0:tor-0" in said.err


def test_json_names_every_link(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "paths", *ACROSS, "--qps", "2", "--json").json()
    assert (said["fabric"], said["policy"], said["connections"]) == ("hpn7", "disjoint", 2)
    for one in said["paths"]:
        assert one["hops"] == len(one["links"]) == 4
        assert one["links"][0].startswith("nic-0:tor-")
        assert one["links"][-1].endswith(":nic-1024")
        ends = [link.split(":") for link in one["links"]]
        assert all(a[1] == b[0] for a, b in zip(ends[:-1], ends[1:], strict=True))
        assert 49_152 <= one["src_port"] <= 65_535
        assert one["latency_s"] == pytest.approx(2e-6)


def test_many_flows_collide_by_hash_and_not_by_plan(capsys: Capsys) -> None:
    shared = {}
    for policy in ("ecmp", "disjoint"):
        args = (*ACROSS, "--flows", "512", "--qps", "2", "--paths", policy, "--json")
        said = roadbed(capsys, "fabric", "paths", *args).json()
        inner = [one["connections"] for one in said["shared"] if "nic" not in one["link"]]
        shared[policy] = max(inner, default=1.0)
    assert shared["disjoint"] < shared["ecmp"]


def test_spray_is_shown_as_a_whole(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "paths", *ACROSS, "--qps", "1", "--paths", "spray")
    assert "over 2 nic, 4 tor" in said.out
    one = roadbed(capsys, "fabric", "paths", *ACROSS, "--qps", "1", "--paths", "spray", "--json").json()["paths"][0]
    assert one["src_port"] is None
    assert sum(one["shares"]) == pytest.approx(4.0)


def test_a_broken_port_is_avoided(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "paths", *ACROSS, "--qps", "4", "--fail", "nic-0:tor-0", "--json").json()
    assert {one["links"][0] for one in said["paths"]} == {"nic-0:tor-1"}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--gpus", "64", "--from", "gpu-0", "--to", "gpu-64"), 3, "this fabric has 64 of kind gpu"),
        (("--gpus", "64", "--from", "tor-0", "--to", "gpu-1"), 2, "tor-0 is neither a GPU nor a card"),
        (("--gpus", "64", "--from", "gpu-0", "--to", "gpu-0"), 2, "share a card"),
        (("--gpus", "64", "--from", "gpu-0", "--to", "gpu-60", "--flows", "9"), 2, "there are 64"),
        (("--gpus", "64", "--from", "gpu-0", "--to", "gpu-9", "--fail", "nic-9"), 5, "no working way leads"),
        (("--gpus", "64", "--to", "gpu-0"), 2, "--from"),
    ],
)
def test_mistakes_are_named(capsys: Capsys, args: tuple[str, ...], code: int, words: str) -> None:
    said = roadbed(capsys, "fabric", "paths", *args)
    assert (said.code, said.out) == (code, "")
    assert words in said.err
