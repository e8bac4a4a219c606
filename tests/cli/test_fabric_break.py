"""`fabric break`: throughput before, while and after; side by side; a report; mistakes by name."""

from pathlib import Path

import pytest

from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]
SMALL = ("--gpus", "128", "--for", "6s", "--at", "2s", "--repair", "2s")


def test_dual_and_single_tor_side_by_side(capsys: Capsys, tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    said = roadbed(
        capsys, "fabric", "break", *SMALL, "--link", "nic-0:tor-1", "--against", "single_tor", "--report", str(report)
    )
    assert said.code == 0
    header, dual, single = said.out.splitlines()
    assert header.split() == ["FABRIC", "BEFORE", "BROKEN", "REROUTED", "AFTER", "STALLED", "ITERATIONS", "JOB"]
    assert dual.split()[0] == "hpn7"
    assert dual.split()[5:7] == ["500", "ms"]
    assert single.split()[0] == "single_tor"
    assert single.split()[5:7] == ["2", "s"]
    assert "nic-0:tor-1 is down" in said.err
    assert "█" in said.err
    assert "nic-0:tor-1 is down at 2 s" in report.read_text()


def test_json_has_every_second(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "break", *SMALL, "--tor", "tor-0", "--json").json()
    (one,) = said["outages"]
    assert len(one["seconds"]) == 6
    assert one["stalled_s"] == pytest.approx(0.5, rel=1e-2)
    assert one["events"][0] == [2.0, "tor-0 is down"]
    assert one["job_lost_s"] is None


def test_never_repaired_has_no_after(capsys: Capsys) -> None:
    said = roadbed(capsys, "fabric", "break", "--gpus", "128", "--for", "4s", "--at", "1s", "--json").json()
    (one,) = said["outages"]
    assert one["after"] is None
    assert one["events"][0][1] == "nic-0:tor-0 is down"


def test_faults_add_up(capsys: Capsys) -> None:
    said = roadbed(
        capsys, "fabric", "break", *SMALL, "--nic", "nic-0", "--link", "nic-9>tor-2", "--convergence", "100ms", "--json"
    ).json()
    words = {words for _, words in said["outages"][0]["events"]}
    assert {"nic-0 is down", "nic-9>tor-2 is down"} <= words
    assert said["outages"][0]["cut_off"] > 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--link", "nic-0:tor-9"), 3, "nic-0 and tor-9 are joined by 0 cables"),
        (("--link", "nic-0"), 2, "'nic-0' is no link"),
        (("--tor", "nic-0"), 2, "'nic-0' is no tor"),
        (("--tor", "tor-99"), 3, "this fabric has 16 of kind tor"),
        (("--at", "99s"), 2, "after the end at 6 s"),
        (("--for", "0"), 2, "for is 0 s"),
        (("--repair", "0"), 2, "repair is 0 s"),
        (("--flap", "0"), 2, "flaps is 0"),
        (("--left", "1.5"), 2, "share is 1.5"),
        (("--bytes", "1M,2M"), 2, "an iteration has one size"),
        (("--bytes", "0"), 2, "sizes are 1 byte"),
        (("--op", "allreverse"), 2, "allreverse"),
        (("--against", "singel_tor"), 3, "did you mean 'single_tor'?"),
    ],
)
def test_mistakes_are_named(capsys: Capsys, args: tuple[str, ...], code: int, words: str) -> None:
    said = roadbed(capsys, "fabric", "break", *SMALL, *args)
    assert (said.code, said.out) == (code, "")
    assert words in said.err
