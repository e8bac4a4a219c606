"""Files become what runs: plan, diff, idempotence, and the ways it can end."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from roadbed.cli.apply import show_plan
from tests.cli.conftest import Shell

TENANT = "kind: tenant\nname: {}\nlimits: {{concurrency: 3}}\n"


@pytest.fixture
def cleanup(platform: Shell) -> Iterator[list[str]]:
    """Services to stop after the test."""
    names: list[str] = []
    yield names
    for name in names:
        platform("stop", name, "-y")


def test_a_diff_shows_what_is_written_or_changes(capsys: pytest.CaptureFixture[str]) -> None:
    fields = [
        {"field": "model", "before": None, "after": "m"},
        {"field": "engine.kind", "before": None, "after": "llamacpp"},
        {"field": "slo.ttft", "before": None, "after": None},
    ]
    show_plan({"kind": "service", "name": "a", "change": "create", "fields": fields, "effects": ["starts"]}, {"model"})
    assert click.unstyle(capsys.readouterr().out) == "+ service a\n    model: m\n    starts\n"
    change = [{"field": "slo.ttft", "before": 2.0, "after": None}]
    show_plan({"kind": "service", "name": "a", "change": "update", "fields": change, "effects": []}, set())
    assert click.unstyle(capsys.readouterr().out) == "~ service a\n    slo.ttft: 2.0 → none\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: service\nname: a\nmodel: m\nreplcas: 2\n", "x.yaml:4: service 'a': 'replcas' is not a key"),
        (
            "kind: servce\nname: a\n",
            "x.yaml:1: kind 'servce' is not one of service, tenant, key, task, quota, cluster; did you mean",
        ),
        ("", "x.yaml:1: holds no spec"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_without_a_platform(shell: Shell, text: str, sentence: str) -> None:
    path = shell.home.root / "x.yaml"
    path.write_text(text)
    refused = shell("apply", "-f", str(path))
    assert refused.code == 2
    assert sentence in refused.err


def test_apply_needs_a_platform(shell: Shell) -> None:
    refused = shell("apply", "-f", "-", "-y", stdin=TENANT.format("a"))
    assert (refused.code, "hint: roadbed up" in refused.err) == (7, True)
    assert shell("apply").code == 2
    assert shell("apply", "-f", "/nowhere.yaml").code == 2


@pytest.mark.e2e
def test_plan_apply_again(platform: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TENANT.format("team-a"))
    (tmp_path / "b.yaml").write_text("kind: key\nname: ci\ntenant: team-a\n")
    args = ("apply", "-f", str(tmp_path))

    dry = platform(*args, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert dry.out.startswith("+ tenant team-a\n")
    assert "limits.concurrency: 3" in dry.out
    assert "requests_per_minute" not in dry.out
    assert "team-a" not in platform("keys", "tenants").out

    unanswered = platform(*args)
    assert (unanswered.code, "hint: add -y" in unanswered.err) == (2, True)

    done = platform(*args, "-y")
    assert done.code == 0, done.err
    secret = re.search(r"^key ci  (rb_\S+)  \(shown once\)$", done.out, re.M)
    assert secret is not None
    assert platform("chat", "Hi", "--max-tokens", "2", ROADBED_API_KEY=secret[1]).code == 0

    again = platform(*args, "-y")
    assert again.code == 0
    assert again.out == "= tenant team-a\n= key ci\n"
    assert "nothing to change" in again.err

    (tmp_path / "a.yaml").write_text(TENANT.format("team-a").replace("3", "4"))
    changed = platform(*args, "-y", "--json").json()
    assert changed["plans"][0]["fields"] == [{"field": "limits.concurrency", "before": 3, "after": 4}]
    assert changed["applied"][1]["secret"] is None


@pytest.mark.e2e
def test_a_service_is_followed_until_it_answers(platform: Shell, cleanup: list[str]) -> None:
    cleanup.append("second")
    spec = "kind: service\nname: second\nmodel: smollm2-135m-instruct\nresources: {cpu: 0.5}\n"
    done = platform("apply", "-f", "-", "-y", stdin=spec)
    assert done.code == 0, done.err
    assert "second-0         starting" in done.err
    assert done.err.strip().endswith("ready: second")
    assert platform("chat", "-m", "second", "Hi", "--max-tokens", "2").code == 0
    stopped = platform("stop", "second", "-y")
    assert (stopped.code, "stopped second" in stopped.err) == (0, True)
    assert platform("chat", "-m", "second", "Hi").code == 3


@pytest.mark.e2e
def test_what_can_not_be_placed_exits_5(platform: Shell, cleanup: list[str]) -> None:
    cleanup.append("huge")
    spec = "kind: service\nname: huge\nmodel: smollm2-135m-instruct\nresources: {memory: 4TB}\n"
    done = platform("apply", "-f", "-", "-y", "--json", stdin=spec)
    assert done.code == 5
    assert done.json()["ready"] is False
    assert "huge-0 can't be placed (too_large)" in done.err
    assert "hint: roadbed explain huge" in done.err
    assert "too_large" in platform("explain", "huge").out
    assert platform("status").code == 1


@pytest.mark.e2e
def test_what_keeps_failing_exits_1(platform: Shell, cleanup: list[str], tmp_path: Path) -> None:
    cleanup.append("broken")
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    spec = f"kind: service\nname: broken\nmodel: file:{tmp_path}/broken.gguf\nresources: {{cpu: 0.25}}\n"
    done = platform("apply", "-f", "-", "-y", stdin=spec)
    assert done.code == 1
    assert "broken-0 failed 2 times:" in done.err
    assert "hint: roadbed logs broken-0" in done.err


@pytest.mark.e2e
def test_ctrl_c_detaches(platform: Shell, cleanup: list[str], tmp_path: Path) -> None:
    cleanup.append("huge")
    path = tmp_path / "huge.yaml"
    path.write_text("kind: service\nname: huge\nmodel: smollm2-135m-instruct\nresources: {cpu: 1.75}\n")
    with platform.popen("apply", "-f", str(path), "-y") as process:
        assert process.stderr is not None
        while "created" not in (line := process.stderr.readline()):
            assert line, "it ended before anything happened"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert "detached; it goes on without you: roadbed explain huge" in process.stderr.read()
    assert "huge" in platform("ps").out
