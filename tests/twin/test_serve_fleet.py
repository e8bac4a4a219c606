import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.twin.serve_fleet import Group, doubts, hourly, labels, load_all, num_replicas, one_more, parse, written

MIXED = "h200-llama-3.1-8b-fp8:2@20,rtxpro6000-llama-3.1-8b:3"


def test_a_fleet_reads_as_it_is_written() -> None:
    fleet = parse(MIXED, 4.0)
    assert fleet == (
        Group(profile="h200-llama-3.1-8b-fp8", num=2, cost_per_hour=20.0),
        Group(profile="rtxpro6000-llama-3.1-8b", num=3, cost_per_hour=4.0),
    )
    assert num_replicas(fleet) == 5
    assert hourly(fleet) == 52.0
    assert labels(fleet) == ["h200-llama-3.1-8b-fp8"] * 2 + ["rtxpro6000-llama-3.1-8b"] * 3
    assert written(fleet) == "h200-llama-3.1-8b-fp8:2,rtxpro6000-llama-3.1-8b:3"


def test_part_of_a_bill_is_none() -> None:
    assert hourly(parse(MIXED)) == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "PROFILE:REPLICAS"),
        ("h200", "'h200' is not PROFILE:REPLICAS"),
        ("h200:two", "'h200:two'"),
        (":2", "':2'"),
        ("a:0", "from 1 to"),
        ("a:-1", "'a:-1'"),
        ("a:100001", "from 1 to"),
        ("a:1,,b:1", "''"),
        ("a:1,a:2", "a is there twice"),
        ("a:1@dear", "'dear' is no price"),
        ("a:1@-3", "'-3' is no price"),
        ("a:1@nan", "'nan' is no price"),
        ("a:1@", "'' is no price"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(text)
    assert caught.value.field == "fleet"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("roadbed twin serve --fleet")


@given(st.text("ab:@,.0123456789-", max_size=30))
def test_any_text_is_a_fleet_or_a_complaint(text: str) -> None:
    try:
        fleet = parse(text)
    except UsageError as error:
        assert error.field == "fleet"
    else:
        assert fleet == parse(",".join(f"{one.profile}:{one.num}@{one.cost_per_hour}" for one in fleet))
        assert all(one.num > 0 for one in fleet)


def test_a_profile_may_be_a_file_with_an_at_sign() -> None:
    assert parse("./my@home/p.json:2@1.5") == (Group(profile="./my@home/p.json", num=2, cost_per_hour=1.5),)


def test_profiles_nobody_knows() -> None:
    with pytest.raises(UsageError, match="h200-lama") as caught:
        load_all([parse("rtxpro6000-llama-3.1-8b:1"), parse("h200-lama-3.1-8b-fp8:1")])
    assert (caught.value.field, caught.value.exit_code) == ("fleet", 2)
    assert caught.value.hint is not None


def test_a_pool_answers_for_one_model() -> None:
    fleet = parse("rtxpro6000-llama-3.1-8b:1,rtxpro6000-qwen3-32b:1")
    (said,) = doubts(fleet, load_all([fleet]))
    assert "different models" in said
    same = parse(MIXED)
    assert doubts(same, load_all([same])) == []


def test_one_more_of_each_kind() -> None:
    grown = one_more(parse(MIXED))
    assert [words for words, _ in grown] == ["+1 h200-llama-3.1-8b-fp8", "+1 rtxpro6000-llama-3.1-8b"]
    assert [[group.num for group in fleet] for _, fleet in grown] == [[3, 3], [2, 4]]
