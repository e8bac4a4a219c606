import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.router.adapters import AdapterSet
from roadbed.router.blocks import salt, salted
from roadbed.router.replica import Replica
from tests.router.requests import info, request, router


def test_the_longest_unused_idle_adapter_makes_room() -> None:
    places = AdapterSet(2, 0.5)
    assert places.use("a")
    assert places.use("b")
    places.release("a")
    places.release("b")
    assert not places.use("a"), "still there"
    places.release("a")
    assert places.use("c")
    assert places.loaded == ["a", "c"], "b was unused for longer"


def test_an_adapter_in_use_stays_and_who_finds_no_place_waits() -> None:
    places = AdapterSet(1, 0.5)
    places.use("a")
    places.use("a")
    assert not places.has_room("b")
    assert (places.affinity("a"), places.affinity("b")) == (1.0, 0.0)
    assert places.use("b")
    assert places.affinity("b") == 0.6
    places.release("a")
    assert places.loaded == ["a"], "one request still uses it"
    places.release("a")
    assert places.loaded == ["b"]
    places.release("b")
    assert places.affinity("a") == 0.8
    places.release("b")
    assert places.num_busy == 0


def test_what_an_adapter_costs() -> None:
    places = AdapterSet(2, 0.5)
    assert places.seconds("a", 9.0) == 0.5, "empty place"
    for _ in range(3):
        places.use("a")
        places.release("a")
    places.use("b")
    assert places.seconds("a", 9.0) == 0.0
    assert places.seconds("c", 9.0) == pytest.approx(1.0), "the popular one would have to go and will be back"
    places.use("a")
    places.use("a")
    waits_s = 9.0 / 2 + 0.5 * 2
    assert places.seconds("c", 9.0) == pytest.approx(waits_s), "until b's only request ends"


def test_the_load_time_is_learned_and_one_freak_does_not_spoil_it() -> None:
    places = AdapterSet(1, 0.5)
    for _ in range(30):
        places.observe_load(1.5)
    assert places.load_s == pytest.approx(1.5, rel=0.01)
    places.observe_load(1e9)
    assert places.load_s < 3.0
    places.observe_load(-5.0)
    assert places.load_s > 0.0


class Naive:
    """The same rules over a plain list of (name, requests), oldest use first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.places: list[list] = []
        self.queue: list[list] = []

    def use(self, name: str) -> bool:
        for row in self.places:
            if row[0] == name:
                self.places.remove(row)
                self.places.append([name, row[1] + 1])
                return False
        for row in self.queue:
            if row[0] == name:
                row[1] += 1
                return True
        self.queue.append([name, 1])
        self.settle()
        return True

    def release(self, name: str) -> None:
        for row in self.queue:
            if row[0] == name:
                row[1] -= 1
                self.queue = [one for one in self.queue if one[1]]
                return
        for row in self.places:
            if row[0] == name:
                row[1] = max(0, row[1] - 1)
        self.settle()

    def settle(self) -> None:
        while self.queue and sum(1 for row in self.places if row[1]) < self.capacity:
            if len(self.places) >= self.capacity:
                self.places.remove(next(row for row in self.places if not row[1]))
            self.places.append(self.queue.pop(0))


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), max_size=60))
def test_it_does_what_a_plain_list_does(capacity: int, steps: list[tuple[bool, str]]) -> None:
    places, naive = AdapterSet(capacity, 0.1), Naive(capacity)
    for is_use, name in steps:
        if is_use:
            assert places.use(name) == naive.use(name)
        else:
            places.release(name)
            naive.release(name)
        assert places.loaded == [row[0] for row in naive.places]
        assert places.num_busy == sum(1 for row in naive.places if row[1])
        assert len(places.loaded) <= capacity
        assert places.seconds(name, 1.0) >= 0.0


@given(st.lists(st.sampled_from("abcde"), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_another_number_of_places_never_loses_one_in_use(names: list[str], before: int, after: int) -> None:
    places = AdapterSet(before, 0.1)
    for name in names:
        places.use(name)
    in_use = places.loaded
    places.resize(after)
    assert set(in_use) <= set(places.loaded)
    for name in names:
        places.release(name)
    assert places.num_busy == 0
    assert places.use("z")
    assert "z" in places.loaded


def test_chains_of_adapters_are_apart() -> None:
    assert salt("") == 0
    assert salted([1, 2], "") == [1, 2]
    ours = salted([1, 2, -3, 2**63 - 1], "law")
    assert len(set(ours) | set(salted([1, 2, -3], "chemistry")) | {1, 2}) == 9
    assert all(0 <= block < 2**48 for block in ours)
    assert salted([1, 2], "law") == ours[:2]


def test_a_replica_knows_what_it_can_serve() -> None:
    replica = Replica(info(0, models=("m",), adapters=("law",), context_tokens=100), 0)
    assert replica.serves(request("1", prompt=100, model="m", adapter="law"))
    assert not replica.serves(request("2", prompt=101))
    assert not replica.serves(request("3", model="n"))
    assert not replica.serves(request("4", adapter="art"))
    assert replica.adapter_s(request("5")) == 0.0
    assert replica.adapter_s(request("6", adapter="law")) == 0.5
    assert Replica(info(1), 1).serves(request("7", prompt=10**9, model="whatever"))


def test_requests_go_only_where_their_adapter_is_known_and_nobody_else_is_kept_waiting() -> None:
    core = router(0, concurrency=1)
    core.set_replicas([info(0, concurrency=1, adapters=("law",)), info(1, concurrency=1)], 0.0)
    first = [core.arrive(request(f"law{i}", adapter="law"), 0.0) for i in range(3)]
    assert [decision.kind for decision in first] == ["go", "go", "wait"]
    assert {decision.slot for decision in first[:2]} == {0}
    assert core.arrive(request("unknown", adapter="art"), 0.0).reason == "no_capable"
    core.arrive(request("plain"), 0.0)
    assert [(one.request_id, one.kind, one.slot) for one in core.tick(0.1)] == [("plain", "go", 1)]
    assert core.failed("law0", 0.2).reason == "no_replica", "nobody else could"
    assert [one.request_id for one in core.finish("law1", 20.0, outcome_ok=True)] == ["law2"]


def test_places_are_given_back_however_a_request_ends() -> None:
    core = router(0)
    core.set_replicas([info(0, adapters=("a", "b"), max_adapters=1)], 0.0)
    places = core.replicas[0].adapters
    assert places is not None
    core.arrive(request("1", adapter="a"), 0.0)
    core.arrive(request("2", adapter="b"), 0.0)
    assert (places.loaded, places.num_busy) == (["a"], 1)
    core.cancel("1", 1.0)
    assert places.loaded == ["b"]
    core.finish("2", 2.0, outcome_ok=True)
    assert places.num_busy == 0


def test_what_a_load_takes_is_learned_apart_from_what_a_prompt_takes() -> None:
    core = router(0)
    core.set_replicas([info(0, adapters=tuple("abcdef"), max_adapters=1)], 0.0)
    replica = core.replicas[0]
    now = 0.0
    for at in range(60):
        core.arrive(request(f"p{at}", prompt=100 + at), now)
        core.first_byte(f"p{at}", now + 0.1)
        core.finish(f"p{at}", now + 1.0, outcome_ok=True, prompt_tokens=100 + at, cached_tokens=0, completion_tokens=20)
        now += 2.0
    alone_s = replica.model.ttft_s(130, 0)
    for at in range(40):
        core.arrive(request(f"a{at}", prompt=130, adapter="abcdef"[at % 6]), now)
        core.first_byte(f"a{at}", now + 0.1 + 2.0)
        core.finish(f"a{at}", now + 4.0, outcome_ok=True, prompt_tokens=130, cached_tokens=0, completion_tokens=20)
        now += 5.0
    assert replica.adapters is not None
    assert replica.adapters.load_s == pytest.approx(2.0, rel=0.1)
    assert replica.model.ttft_s(130, 0) == pytest.approx(alone_s, rel=0.05)
