"""Services: what old documents mean still, and what a replica may ask for."""

from typing import get_args

import pytest
from pydantic import ValidationError

from roadbed.router.autoscale import AUTOSCALERS
from roadbed.router.autoscale.base import Bounds, Load
from roadbed.spec.accelerator import Accelerators
from roadbed.spec.service import NEVER_ZERO, Resources, ScalerName, Scaling, Service, VllmEngine


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


def test_without_scaling_nothing_is_decided() -> None:
    assert service(replicas="0..3").scaling is None
    assert "scaling" not in service(replicas="0..3").model_dump(exclude_none=True)


def test_scaling_as_people_write_it() -> None:
    scaling = service(replicas="0..4", scaling={"target": 3, "idle": "10m", "cold_start": "90s"}).scaling
    assert scaling is not None
    assert (scaling.policy, scaling.target, scaling.idle, scaling.cold_start) == ("roadbed", 3, 600.0, 90.0)
    assert (scaling.cost_cap, scaling.interval) == (None, 5.0)
    assert service(replicas="1..4", scaling={}).scaling == Scaling()


URLS = {"kind": "openai", "urls": ["http://127.0.0.1:9", "http://127.0.0.1:10"]}


@pytest.mark.parametrize(
    ("fields", "path", "text"),
    [
        ({"replicas": 2, "scaling": {}}, ("scaling",), "nothing to choose: replicas is 2; write a range such as 1..4"),
        ({"replicas": "0..3", "scaling": {"policy": "hpa"}}, ("scaling", "policy"), "hpa never goes to 0"),
        ({"replicas": "0..2", "engine": URLS, "scaling": {}}, ("replicas",), "not ours to stop"),
        ({"replicas": "1..4", "scaling": {"cost_cap": 9}}, ("scaling", "cost_cap"), "needs scaling.cost_per_hour"),
        (
            {"replicas": "2..4", "scaling": {"cost_cap": 9, "cost_per_hour": 5}},
            ("scaling", "cost_cap"),
            "9 per hour does not pay for 2 at 5",
        ),
        ({"replicas": "1..4", "scaling": {"target": 0}}, ("scaling", "target"), "greater than 0"),
        ({"replicas": "1..4", "scaling": {"interval": "0.1s"}}, ("scaling", "interval"), "greater than or equal to 1"),
        (
            {"replicas": "1..4", "scaling": {"policy": "magic"}},
            ("scaling", "policy"),
            "'roadbed', 'hpa', 'kpa' or 'apa'",
        ),
    ],
)
def test_what_scaling_cannot_do_is_said_where_it_is_written(
    fields: dict[str, object], path: tuple[str, ...], text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        service(**fields)
    (problem,) = caught.value.errors()
    assert problem["loc"] == path
    assert text in problem["msg"]


def test_every_policy_has_its_autoscaler() -> None:
    assert set(get_args(ScalerName)) == set(AUTOSCALERS)
    for name, make in AUTOSCALERS.items():
        scaler = make(Bounds(num_min=0, num_max=3, target=1.0))
        targets = [scaler.decide(Load(at=10.0 * i, num_replicas=1, amount=0.0)).num_replicas for i in range(500)]
        assert (min(targets) > 0) is (name in NEVER_ZERO)


LAW = {"name": "law", "source": "/adapters/law"}


def test_adapters_of_both_engines() -> None:
    for kind in ("llamacpp", "vllm"):
        one = service(engine={"kind": kind, "adapters": [LAW, {"name": "org/art.v2", "source": "file:/a"}]})
        assert [adapter.name for adapter in one.adapters] == ["law", "org/art.v2"]
    assert service(engine={"kind": "openai", "urls": ["http://127.0.0.1:9"]}).adapters == []
    engine = VllmEngine.model_validate({"adapters": [{**LAW, "name": f"a{at}"} for at in range(20)]})
    assert engine.adapter_places == 8
    assert VllmEngine.model_validate({"adapters": [LAW], "max_adapters": 3}).adapter_places == 3
    assert VllmEngine().adapter_places == 0


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"kind": "vllm", "adapters": [LAW, LAW]}, "'law' is there twice"),
        ({"kind": "vllm", "adapters": [{**LAW, "name": "a=b"}]}, "pattern"),
        ({"kind": "vllm", "adapters": [{**LAW, "name": "chat"}]}, "'chat' is a name of the service itself"),
        ({"kind": "vllm", "adapters": [{**LAW, "path": "/x"}]}, "path"),
        ({"kind": "vllm", "max_adapters": 2}, "there are no adapters"),
        ({"kind": "vllm", "kv_transfer": {"kv_role": "kv_both"}}, "names no connector"),
        ({"kind": "vllm", "kv_transfer": {"kv_connector": "NixlConnector", "kv_role": "both"}}, "kv_role is 'both'"),
        ({"kind": "vllm", "kv_transfer": "NixlConnector"}, "dictionary"),
        ({"kind": "openai", "urls": ["http://127.0.0.1:9"], "adapters": [LAW]}, "adapters"),
    ],
)
def test_adapters_and_transfers_that_make_no_sense(engine: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        service(engine=engine)


def test_whatever_else_a_connector_wants_is_passed_on() -> None:
    transfer = {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_consumer", "kv_connector_extra_config": {"a": [1]}}
    assert VllmEngine.model_validate({"kv_transfer": transfer}).kv_transfer == transfer


BOTH = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}


def test_roles_are_all_replicas() -> None:
    engine = {"kind": "vllm", "kv_transfer": BOTH, "roles": {"prefill": 1, "decode": 2}}
    assert service(engine=engine, replicas=3).replicas.max == 3
    for replicas in (2, "1..3"):
        with pytest.raises(ValidationError, match="write replicas: 3"):
            service(engine=engine, replicas=replicas)
    with pytest.raises(ValidationError, match="write kv_transfer with kv_role kv_both"):
        service(engine={**engine, "kv_transfer": {**BOTH, "kv_role": "kv_producer"}}, replicas=3)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        service(engine={**engine, "roles": {"prefill": 0, "decode": 3}}, replicas=3)
