"""The page of one task, over the real control process."""

import pytest

from roadbed.console.task import read_task
from roadbed.errors import NotFoundError
from tests.console.conftest import Platform, Visitor, until

NASTY = "<script>alert(1)</script>"


def submit(platform: Platform, name: str, **fields: object) -> None:
    spec = {"kind": "task", "name": name, "command": "x", "resources": {"cpu": 0.1, "memory": "8MiB"}, **fields}
    platform.client().apply([spec])


def test_a_running_task_shows_its_logs_as_text(platform: Platform, visitor: Visitor) -> None:
    submit(platform, "runs", processes=2)
    until(lambda: platform.client().task("runs")["state"] == "running")
    (platform.home.logs / "task-runs.1.1.0.log").write_text(f"step 1 {NASTY}\n")
    (platform.home.logs / "task-runs.1.1.1.log").unlink()
    answer = visitor.get("/console/tasks/runs")
    page = answer.body.decode()
    assert answer.status == 200
    assert "task-runs.1.1.0" in page
    assert "step 1 &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert NASTY not in page
    assert "no log named task-runs.1.1.1" in page, "a rank that wrote nothing says so"
    assert "task.running" in page
    assert "style=" not in page
    assert "task-runs" not in visitor.get("/").body.decode(), "logs are on the task's own page"
    assert 'href="/console/tasks/runs"' in visitor.get("/").body.decode()


def test_a_waiting_task_shows_what_it_waits_for(platform: Platform, visitor: Visitor) -> None:
    (node,) = platform.client().nodes()
    most = {"cpu": node["cpu"], "memory": "8MiB"}
    submit(platform, "holds", resources=most, preemptible=False, max_duration="1h")
    until(lambda: platform.client().task("holds")["state"] == "running")
    submit(platform, "waits", resources=most)
    until(lambda: platform.client().queue())
    found = read_task(platform.client(), "waits", platform.client().live()["at"])
    assert found.task.state == "queued"
    assert [step["left"] for step in found.story["waiting"]["funnel"]] == [1, 0]
    assert "±" in found.starts_in
    assert found.logs == []
    page = visitor.get("/console/tasks/waits").body.decode()
    for words in ('class="funnel"', "Expected to start in", "Position 1 of 1", "It has not started yet."):
        assert words in page


def test_only_those_who_signed_in_see_tasks(platform: Platform, visitor: Visitor, stranger: Visitor) -> None:
    submit(platform, "secret")
    assert stranger.get("/console/tasks/secret").status == 401
    missing = visitor.get("/console/tasks/nosuch")
    assert (missing.status, b"there is no task" in missing.body) == (404, True)
    assert visitor.get("/console/tasks/No%20Name").status in (400, 404)
    with pytest.raises(NotFoundError):
        read_task(platform.client(), "nosuch", 0.0)
