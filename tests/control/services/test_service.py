"""Plan, apply, scale and delete: idempotent, told before done, and never half."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.control.placement import Node, node_info
from roadbed.control.pool import LivePool
from roadbed.control.services.apply import Applied, apply, plan
from roadbed.control.services.service import delete_service, diff_fields, model_names, scale_service
from roadbed.control.store import Store
from roadbed.control.store.event import list_events
from roadbed.control.store.service import ServiceRow, get_service
from roadbed.errors import ConflictError, NotFoundError, UsageError
from roadbed.hardware.machine import Machine
from roadbed.spec.load import AnySpec, load_text
from roadbed.spec.service import OpenAIEngine, Service

POOL = LivePool([node_info(Node(cpu=2.0, memory_bytes=8 * 2**30), Machine(num_cpus=2, memory_mib=8192), "local")])
CHAT = "kind: service\nname: chat\nmodel: smollm2-135m-instruct\nreplicas: 1..3\n"


def one(text: str) -> Service:
    (spec,) = load_text(text)
    assert isinstance(spec, Service)
    return spec


def wish(store: Store, *texts: str) -> list[Applied]:
    specs: list[AnySpec] = [spec for text in texts for spec in load_text(text)]
    return apply(store, specs, POOL, "test")


def stored(store: Store, name: str = "chat") -> ServiceRow:
    with store.read() as connection:
        row = get_service(connection, name)
    assert row is not None
    return row


def codes(store: Store) -> list[str]:
    with store.read() as connection:
        return [event.code for event in list_events(connection)]


def test_apply_is_idempotent(any_store: Store) -> None:
    wish(any_store, CHAT)
    first = stored(any_store)
    assert (first.generation, first.launch_generation, first.num_desired) == (1, 1, 1)
    assert wish(any_store, CHAT)[0].plan.change == "unchanged"
    assert stored(any_store) == first
    assert codes(any_store) == ["service.created"]


@pytest.mark.parametrize(
    ("change", "relaunches"),
    [
        ("engine: {kind: llamacpp, parallel: 2}\n", True),
        ("resources: {cpu: 2}\n", True),
        ("slo: {ttft: 1s}\n", False),
        ("priority: 1\n", False),
        ("aliases: [small]\n", False),
        ("routing: {policy: round_robin}\n", False),
    ],
)
def test_only_what_engines_depend_on_relaunches(store: Store, change: str, relaunches: bool) -> None:
    wish(store, CHAT)
    (planned,) = plan(store, [one(CHAT + change)], POOL)
    assert planned.change == "update"
    assert (planned.effects == ["restarts nothing"]) is not relaunches
    wish(store, CHAT + change)
    row = stored(store)
    assert (row.generation, row.launch_generation) == (2, 2 if relaunches else 1)


def test_plan_shows_fields_and_what_fits_and_changes_nothing(store: Store) -> None:
    (planned,) = plan(store, [one(CHAT.replace("1..3", "3"))], POOL)
    assert planned.change == "create"
    assert planned.effects[0] == "starts 3 replicas of smollm2-135m-instruct"
    assert planned.effects[1] == "only 2 of 3 fit now; the rest waits for room"
    assert "kind" not in [field.field for field in planned.fields]
    with store.read() as connection:
        assert get_service(connection, "chat") is None
    wish(store, CHAT)
    (planned,) = plan(store, [one(CHAT + "slo: {ttft: 1s}\n")], POOL)
    assert [(field.field, field.before, field.after) for field in planned.fields] == [("slo.ttft", None, 1.0)]


def test_a_narrower_range_moves_the_wish_into_it(store: Store) -> None:
    wish(store, CHAT)
    scale_service(store, "chat", 3, "test")
    (planned,) = plan(store, [one(CHAT.replace("1..3", "1..2"))], POOL)
    assert planned.effects == ["scales from 3 to 2 replicas"]
    wish(store, CHAT.replace("1..3", "1..2"))
    assert stored(store).num_desired == 2


def test_scale_stays_in_the_range(store: Store) -> None:
    wish(store, CHAT)
    assert scale_service(store, "chat", 2, "test").num_desired == 2
    scale_service(store, "chat", 2, "test")
    assert codes(store) == ["service.created", "service.scaled"]
    with pytest.raises(UsageError, match=r"4 is outside 1\.\.3 of service 'chat'"):
        scale_service(store, "chat", 4, "test")
    with pytest.raises(NotFoundError, match="there is no service 'nope'; services: chat"):
        scale_service(store, "nope", 1, "test")


def test_delete_and_apply_again(any_store: Store) -> None:
    wish(any_store, CHAT)
    delete_service(any_store, "chat", "test")
    with pytest.raises(NotFoundError, match="services: none"):
        delete_service(any_store, "chat", "test")
    assert wish(any_store, CHAT)[0].plan.change == "create"
    row = stored(any_store)
    assert (row.deleted_at, row.generation, row.launch_generation) == (None, 2, 2)


def test_names_lead_to_one_service(store: Store) -> None:
    wish(store, CHAT + "aliases: [small]\n")
    other = CHAT.replace("name: chat", "name: code")
    with pytest.raises(ConflictError, match="the name 'small' already leads to service 'chat'"):
        wish(store, other + "aliases: [small]\n")
    with pytest.raises(ConflictError, match="'chat'"):
        wish(store, other + "aliases: [chat]\n")
    wish(store, other)


def test_model_names() -> None:
    assert model_names(one(CHAT + "aliases: [small, chat]\n")) == ("smollm2-135m-instruct", "chat", "small")
    assert model_names(one(CHAT.replace("smollm2-135m-instruct", "file:/x.gguf"))) == ("chat",)


def test_models_nobody_knows_and_urls_that_lead_nowhere_are_refused(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no model named 'smollm2-135m' in the catalogue"):
        wish(store, CHAT.replace("smollm2-135m-instruct", "smollm2-135m"))
    far = Service(name="far", model="x", engine=OpenAIEngine(urls=["gopher://x"]))
    with pytest.raises(UsageError, match="gopher"):
        apply(store, [far], POOL, "test")


def test_all_or_nothing(any_store: Store) -> None:
    key = "kind: key\nname: k\ntenant: nobody\n"
    with pytest.raises(NotFoundError, match="there is no tenant 'nobody'"):
        wish(any_store, CHAT, key)
    assert codes(any_store) == []


def test_order_in_a_file_does_not_matter(store: Store) -> None:
    applied = wish(store, CHAT, "kind: key\nname: k\ntenant: a\n", "kind: tenant\nname: a\n")
    assert [item.plan.kind for item in applied] == ["service", "key", "tenant"]
    assert codes(store) == ["tenant.created", "key.created", "service.created"]


trees = st.recursive(
    st.none() | st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from("abc"), trees), st.dictionaries(st.sampled_from("abc"), trees))
def test_a_diff_is_empty_only_between_equals(before: dict[str, object], after: dict[str, object]) -> None:
    changes = diff_fields(before, after)
    assert diff_fields(before, before) == []
    assert all(change.before != change.after for change in changes)
    if not changes:
        assert _bare(before) == _bare(after)


def _bare(tree: object) -> object:
    """Without nulls: a key that is null says no more than one that is missing."""
    if not isinstance(tree, dict):
        return tree
    return {key: _bare(value) for key, value in tree.items() if value is not None}
