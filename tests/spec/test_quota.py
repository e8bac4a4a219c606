"""Quotas: shares as people write them, and trees that promise no more than they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.spec.load import load_text, load_value
from roadbed.spec.quota import Quota, Share, check_tree, paths


def quota(name: str, parent: str | None = None, **resources: object) -> Quota:
    named = {key.replace("_", "-"): value for key, value in resources.items()}
    spec = load_value({"kind": "quota", "name": name, "parent": parent, "resources": named})
    assert isinstance(spec, Quota)
    return spec


def problems(*quotas: Quota) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check_tree(quotas)
    assert caught.value.hint == "roadbed schema quota"
    return caught.value.message.splitlines()


def test_the_least_one_can_write() -> None:
    one = quota("all")
    assert (one.parent, one.weight, one.lending, one.strategy, one.backfill) == (None, 1.0, True, "intelligent", "easy")
    assert (one.preemption.between_siblings, one.preemption.of_children, one.half_life) == (False, False, None)


def test_all_one_can_write() -> None:
    (one,) = load_text(
        "kind: quota\nname: nlp\nparent: research\nresources: {H100: 16..64, gpu: {max: 100}, cpu: 200.., V100M32: 4}\n"
        "weight: 2\nlending: false\nstrategy: balance\npreemption: {between_siblings: true, of_children: true}\n"
        "backfill: off\nhalf_life: 7d\n"
    )
    assert isinstance(one, Quota)
    assert one.resources == {
        "H100": Share(min=16, max=64), "gpu": Share(max=100), "cpu": Share(min=200), "V100-32GB": Share(min=4, max=4),
    }  # fmt: skip
    assert one.backfill == "off"
    assert one.half_life == 7 * 86400
    assert load_value(one.model_dump(mode="json")) == one


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        ("16", 16, 16), ("16..64", 16, 64), (" 16 .. 64 ", 16, 64), ("16..", 16, None), ("0..0", 0, 0), (0.5, 0.5, 0.5),
        ({"min": 1}, 1, None), ({"max": 8}, 0, 8), ({}, 0, None),
    ],
)  # fmt: skip
def test_shares(written: object, low: float, high: float | None) -> None:
    assert Share.model_validate(written) == Share(min=low, max=high)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"H100": "64..16"}, "min 64 is above max 16"),
        ({"H100": "..16"}, "'..16' is not an amount"),
        ({"H100": -1}, "greater than or equal to 0"),
        ({"H100": True}, "valid dictionary"),
        ({"H10": 1}, "there is no chip 'H10'; did you mean 'H100'?"),
        ({"A100": 1}, "A100 is a family; name its chips: A100-40GB, A100-80GB"),
        ({"H100": 1, "h100": 2}, "two keys mean the same resource"),
        ({"H100": 8, "T4": 8, "gpu": "0..12"}, "chips are guaranteed 16 in all, above gpu's max 12"),
    ],
)
def test_what_is_no_share(resources: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_value({"kind": "quota", "name": "q", "resources": resources})
    assert words in caught.value.message


@pytest.mark.parametrize(
    "field", ["weight: 0", "strategy: lifo", "backfill: maybe", "half_life: 0s", "parent: q", "lend: true"]
)
def test_other_mistakes_have_a_line(field: str) -> None:
    with pytest.raises(SpecError, match=r"q.yaml:[13]: quota 'q': "):
        load_text(f"kind: quota\nname: q\n{field}\n", "q.yaml")


def test_chips_of_a_cluster_in_the_same_text() -> None:
    own = "kind: cluster\nname: c\nchips: {G2: {memory: 24GB}}\nnodes: [{server: t4-4, count: 1}]\n---\n"
    written = "kind: quota\nname: q\nresources: {g2: 4..8}\n"
    assert load_text(own + written)[1].model_dump()["resources"] == {"G2": {"min": 4, "max": 8}}
    with pytest.raises(SpecError, match="there is no chip 'g2'"):
        load_text(written)


def test_gpu_counts_chips() -> None:
    one = quota("q", H100="8..", T4="4..")
    assert (one.guaranteed("gpu"), one.guaranteed("H100"), one.guaranteed("A10")) == (12, 8, 0)
    assert quota("q", H100="8..", gpu="20..").guaranteed("gpu") == 20
    assert quota("q", H100="8..", cpu="200..").guaranteed("gpu") == 8


def test_a_sound_tree_and_its_paths() -> None:
    tree = [
        quota("nlp", "research", H100="8.."),
        quota("research", "all", H100="16..", T4="4.."),
        quota("all", gpu="64..", cpu="100.."),
        quota("vision", "research", H100="8..", T4="4.."),
        quota("serving", "all", gpu="44.."),
    ]
    assert list(paths(tree)) == ["all", "all/research", "all/research/nlp", "all/research/vision", "all/serving"]
    assert paths(tree)["all/serving"].name == "serving"
    assert paths([]) == {}


def test_promises_above_the_parents() -> None:
    assert problems(quota("p", H100="8.."), quota("a", "p", H100="6.."), quota("b", "p", H100="4..")) == [
        "quota 'p' has 8 H100 guaranteed, its children 10 (a 6 + b 4)"
    ]
    assert problems(quota("p", gpu="8.."), quota("a", "p", H100="6.."), quota("b", "p", T4="4..")) == [
        "quota 'p' has 8 gpu guaranteed, its children 10 (a 6 + b 4)"
    ]
    assert problems(quota("p", H100="8.."), quota("a", "p", gpu="9..")) == [
        "quota 'p' has 8 gpu guaranteed, its children 9 (a 9)"
    ]
    assert problems(quota("p"), quota("a", "p", cpu="1.5..", T4="1..")) == [
        "quota 'p' has 0 T4 guaranteed, its children 1 (a 1)",
        "quota 'p' has 0 cpu guaranteed, its children 1.5 (a 1.5)",
    ]


def test_cycles_unknown_parents_and_twins() -> None:
    assert problems(quota("a", "b"), quota("b", "c"), quota("c", "b"), quota("d", "a")) == [
        "quota 'b' is its own ancestor: b → c → b"
    ]
    assert problems(quota("a", "reserch"), quota("b", "a"), quota("research")) == [
        "quota 'a': there is no parent 'reserch'; did you mean 'research'?"
    ]
    assert problems(quota("a", "zzz")) == ["quota 'a': there is no parent 'zzz'"]
    assert problems(quota("a"), quota("a")) == ["quota 'a' is there twice"]


def test_depth_has_an_end() -> None:
    chain = [quota("q0"), *(quota(f"q{i}", f"q{i - 1}") for i in range(1, 8))]
    assert len(paths(chain)) == 8
    assert problems(*chain, quota("q8", "q7"), quota("q9", "q8")) == ["quota 'q8' is deeper than 8 quotas"]


NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(NAMES, st.none() | st.sampled_from("abcdefg"), st.integers(0, 3)), max_size=6))
def test_any_quotas_are_a_tree_or_a_spec_error(rows: list[tuple[str, str | None, int]]) -> None:
    quotas = [quota(name, parent, H100=f"{low}..") for name, parent, low in rows if name != parent]
    try:
        found = paths(quotas)
    except SpecError as caught:
        assert caught.message
        return
    assert sorted(one.name for one in found.values()) == sorted(one.name for one in quotas)
    for path, one in found.items():
        assert path == one.name if one.parent is None else path.endswith(f"{one.parent}/{one.name}")
        below = [child.guaranteed("H100") for child in quotas if child.parent == one.name]
        assert sum(below) <= one.guaranteed("H100")
