"""Services: what old documents mean still, and what a replica may ask for."""

import pytest
from pydantic import ValidationError

from roadbed.spec.accelerator import Accelerators
from roadbed.spec.service import Resources, Service


def service(**fields: object) -> Service:
    return Service.model_validate({"kind": "service", "name": "chat", "model": "m", **fields})


def test_a_document_of_before_means_the_same() -> None:
    one = service()
    assert (one.resources.cpu, one.resources.memory, one.resources.accelerators) == (1.0, 2**30, None)
    assert (one.quota, one.priority) == (None, 5)
    stored = {key: value for key, value in one.model_dump(mode="json").items() if key != "quota"}
    stored["resources"] = {"cpu": 1.0, "memory": 2**30}
    assert Service.model_validate(stored) == one


@pytest.mark.parametrize("key", ["accelerators", "gpu"])
def test_both_words_for_accelerators(key: str) -> None:
    asked = service(resources={key: "0.5"}).resources.accelerators
    assert asked == Accelerators(num=1, milli=500)
    assert Resources(accelerators=asked).model_dump(mode="json")["accelerators"] == "gpu:0.5"


def test_not_both_at_once() -> None:
    with pytest.raises(ValidationError, match="accelerators and gpu say the same; keep one"):
        service(resources={"gpu": 1, "accelerators": 1})


def test_no_more_replicas_than_servers_somebody_else_runs() -> None:
    engine = {"kind": "openai", "urls": ["http://127.0.0.1:9"]}
    assert service(engine=engine).replicas.max == 1
    with pytest.raises(ValidationError, match="asks for more replicas than the 1 engine urls"):
        service(engine=engine, replicas="1..2")


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_an_engine_may_be_named_alone(engine: str) -> None:
    assert service(engine=engine).engine.kind == engine
    with pytest.raises(ValidationError, match="urls"):
        service(engine="openai")
