"""Model jobs over a real model store: pulls in the background, facts that say what happened."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadbed.control.models import ModelJobs
from roadbed.control.reconcilers.actions import ModelFact
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.models.store import ModelStore


@pytest.fixture
def jobs(store: Store, tmp_path: Path) -> Iterator[ModelJobs]:
    made = ModelJobs(ModelStore(tmp_path / "models"), store)
    yield made
    asyncio.run(made.close())


def finished(jobs: ModelJobs, model: str) -> ModelFact:
    deadline = time.monotonic() + 20.0
    while (fact := jobs.fact(model)).state == "pulling":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return fact


def test_a_pull_brings_the_model_and_tells(jobs: ModelJobs, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    model = f"file:{path}"
    assert jobs.fact(model).state == "absent"
    jobs.start_pull(model)
    jobs.start_pull(model)
    assert finished(jobs, model) == ModelFact(state="present", path=str(path))
    (info,) = (info for info in jobs.list_models() if info.source.endswith("tiny.gguf"))
    assert (info.state, info.size_bytes) == ("present", 1004)
    with store.read() as connection:
        assert [event.code for event in list_events(connection, noun="model")] == ["model.pulled"]


def test_a_failed_pull_says_why_and_can_be_begun_again(jobs: ModelJobs, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "late.gguf"
    model = f"file:{path}"
    jobs.start_pull(model)
    failed = finished(jobs, model)
    assert failed.state == "failed"
    assert "there is no such file" in failed.message
    assert [info.state for info in jobs.list_models() if info.name == model] == ["failed"]
    path.write_bytes(b"GGUF")
    jobs.start_pull(model)
    assert finished(jobs, model).state == "present"
    with store.read() as connection:
        codes = [event.code for event in list_events(connection, noun="model")]
    assert codes == ["model.pull_failed", "model.pulled"]


def test_the_catalogue_is_listed_and_names_nobody_knows_fail(jobs: ModelJobs) -> None:
    infos = {info.name: info for info in jobs.list_models()}
    assert infos["smollm2-135m-instruct"].state == "absent"
    assert infos["smollm2-135m-instruct"].license == "Apache-2.0"
    assert jobs.fact("nope").state == "failed"
    assert "no model named 'nope'" in jobs.fact("nope").message


def test_after_closing_nothing_is_begun(jobs: ModelJobs) -> None:
    asyncio.run(jobs.close())
    jobs.start_pull("smollm2-135m-instruct")
    assert jobs.fact("smollm2-135m-instruct").state == "absent"
