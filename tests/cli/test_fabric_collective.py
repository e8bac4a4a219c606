"""`fabric collective`: rows by size, the promised columns, and what is refused."""

from pathlib import Path

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]
COLUMNS = {
    "fabric", "op", "algorithm", "gpus", "bytes", "concurrent", "time_s", "algbw_gbytes_s", "busbw_gbytes_s",
}  # fmt: skip


def rows(capsys: Capsys, *words: str) -> list[dict]:
    said = roadbed(capsys, "fabric", "collective", *words, "--json")
    assert said.code == 0, said.err
    return said.json()["rows"]


def test_the_promised_command(capsys: Capsys) -> None:
    got = rows(capsys, "--fabric", "hpn7", "--gpus", "448", "--op", "allreduce", "--sizes", "1M..4G")
    assert [row["bytes"] for row in got] == [1 << (20 + 2 * at) for at in range(7)]
    for row in got:
        assert set(row) >= COLUMNS
        assert (row["fabric"], row["gpus"], row["concurrent"]) == ("hpn7", 448, 1)
        assert row["busbw_gbytes_s"] == pytest.approx(row["algbw_gbytes_s"] * 2 * 447 / 448)


def test_one_per_rail_and_several_jobs(capsys: Capsys) -> None:
    rail = rows(capsys, "--gpus", "64", "--groups", "rail", "--sizes", "1G")[0]
    assert (rail["ranks"], rail["groups"]) == (8, "rail")
    crowd = rows(capsys, "--fabric", "dcn_plus", "--gpus", "64", "--concurrent", "4", "--sizes", "1G", "--draws", "2")[
        0
    ]
    assert (crowd["gpus"], crowd["concurrent"], crowd["draws"]) == (64, 4, 2)


def test_one_plane_or_two_and_paths(capsys: Capsys) -> None:
    def bandwidth(*words: str) -> float:
        return float(
            rows(capsys, "--gpus", "2048", "--sizes", "1G", "--algorithm", "ring", *words)[0]["busbw_gbytes_s"]
        )

    best = bandwidth("--paths", "disjoint")
    assert bandwidth("--paths", "ecmp", "--placement", "anywhere", "--order", "given") < best
    assert bandwidth("--paths", "ecmp", "--placement", "anywhere", "--order", "given", "--hash", "switch") <= best
    assert bandwidth("--set", "planes=1", "--paths", "disjoint") == pytest.approx(best, rel=0.05)


def test_a_failed_port_costs_bandwidth_and_a_failed_card_the_collective(capsys: Capsys) -> None:
    whole = rows(capsys, "--gpus", "64", "--sizes", "4G", "--groups", "rail", "--algorithm", "ring")[0]
    hurt = rows(
        capsys, "--gpus", "64", "--sizes", "4G", "--groups", "rail", "--algorithm", "ring", "--fail", "nic-0:tor-0"
    )[0]
    assert hurt["busbw_gbytes_s"] == pytest.approx(whole["busbw_gbytes_s"] / 2, rel=0.02)
    said = roadbed(capsys, "fabric", "collective", "--gpus", "64", "--sizes", "4G", "--fail", "nic-0")
    assert said.code == 2
    assert "can't reach" in said.err


def test_for_people(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "collective", "--gpus", "64", "--sizes", "64M,1G", "--why")
    assert said.code == 0
    assert said.out.splitlines()[0].split()[:2] == ["SIZE", "ALGORITHM"]
    assert "holds it" in said.err


def test_a_plan_has_channels_and_a_rank_order(capsys: Capsys) -> None:
    words = ("fabric", "collective", "--fabric", "dcn_plus", "--gpus", "64", "--plan", "--sizes", "1M,1G")
    small, large = roadbed(capsys, *words, "--json").json()["rows"]
    assert sorted(large["gpus"]) == list(range(64))
    assert {"algorithm", "channels", "order", "why"} <= set(small)
    said = roadbed(capsys, *words, "--why")
    assert said.out.splitlines()[0].split()[:4] == ["SIZE", "ALGORITHM", "CHANNELS", "ORDER"]
    assert "would take" in said.err


def test_a_report(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    said = roadbed(capsys, "fabric", "collective", "--gpus", "16", "--sizes", "1M,1G", "--report", str(file))
    assert said.code == 0
    assert file.read_text().startswith("<!doctype html>")
    assert "hierarchical" in file.read_text()


@pytest.mark.parametrize(("words", "said"), [
    (["--op", "allsum"], "allreduce"),
    (["--sizes", "0"], "sizes are 1 byte"),
    (["--sizes", "4G..1M"], "first size is the smaller"),
    (["--sizes", "1M..4G*1"], "factor at least 2"),
    (["--sizes", "lots"], "'lots' is no size"),
    (["--sizes", "9999999T"], "sizes are 1 byte"),
    (["--gpus", "1"], "at least 2 ranks"),
    (["--gpus", "0"], "0"),
    (["--gpus", "64", "--fail", "nic-0:tor-99"], "tor"),
    (["--gpus", "64", "--fail", "gpu-1"], "inside a server"),
    (["--gpus", "64", "--op", "allgather", "--algorithm", "tree"], "ring"),
    (["--gpus", "8", "--groups", "rail"], "two servers"),
])  # fmt: skip
def test_what_is_wrong_is_named(capsys: Capsys, words: list[str], said: str) -> None:
    answer = roadbed(capsys, "fabric", "collective", *words)
    assert answer.code in (2, 3)
    assert said in answer.err
