"""One grammar for requests: every way to write one, its canonical text, and clear words for all the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from roadbed.hardware.chips import CHIPS
from roadbed.spec.accelerator import MAX_COUNT, AcceleratorRequest, Accelerators, parse_accelerators

ADAPTER: TypeAdapter[Accelerators] = TypeAdapter(AcceleratorRequest)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("H100:8", "H100:8"),
        ("h100 : 8", "H100:8"),
        ("H100", "H100:1"),
        ("gpu: 0.5", "gpu:0.5"),
        ("gpu: 2", "gpu:2"),
        ("any", "gpu:1"),
        ("2", "gpu:2"),
        ("0.25", "gpu:0.25"),
        (2, "gpu:2"),
        (0.5, "gpu:0.5"),
        (1.0, "gpu:1"),
        (0.001, "gpu:0.001"),
        ("T4:0.810", "T4:0.81"),
        ("910B:8", "Ascend-910B:8"),
        ("any of [H800, H100]:8", "any of [H100, H800]:8"),
        ("Any of[H100]", "H100:1"),
        ("A100:8", "any of [A100-40GB, A100-80GB]:8"),
        ("24GB..", "24GB..:1"),
        ("24GB..80GB:2", "24GB..80GB:2"),
        ("24 GB .. 80 GB : 2", "24GB..80GB:2"),
        ("..16gb", "..16GB:1"),
        ("24GB", "24GB..24GB:1"),
        ("24GiB..:3", "24576MiB..:3"),
        ("0.08TB..", "80GB..:1"),
        ("A100 60GB..:4", "any of [A100-40GB, A100-80GB] 60GB..:4"),
        ("any of [H20, H100] ..90GB:0.5", "any of [H100, H20] ..90GB:0.5"),
        ({"any_of": ["H100", "H800"], "count": 8}, "any of [H100, H800]:8"),
        ({"chip": "H100", "count": "2"}, "H100:2"),
        ({"memory": "24GB..", "count": 0.5}, "24GB..:0.5"),
        ({"chip": "gpu"}, "gpu:1"),
        ({}, "gpu:1"),
    ],
)
def test_ways_to_write_one(written: object, canonical: str) -> None:
    parsed = parse_accelerators(written)
    assert str(parsed) == canonical
    assert parse_accelerators(canonical) == parsed
    assert parse_accelerators(parsed) is parsed


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("H10:8", "there is no chip 'H10'; did you mean 'H100'?"),
        ("any of [H100, H2O]", "there is no chip 'H2O'; did you mean 'H20'?"),
        ("H100:1.5", "only one device can be shared"),
        (2.5, "only one device can be shared"),
        ("gpu:0", "ask for 1 to 1000000"),
        (0, "ask for 1 to 1000000"),
        (-1, "-1 is not a number of devices"),
        (float("nan"), "nan is not a number"),
        (float("inf"), "inf is not a number"),
        ("H100:9999999", "ask for 1 to 1000000"),
        (0.0005, "thousandths"),
        ("H100:x", "'x' is not a number of devices"),
        ("H100:", "'' is not a number of devices"),
        ("", "is not accelerators such as"),
        ("H100 H800", "is not accelerators such as"),
        ("H100:8:9", "is not accelerators such as"),
        ("any of [H100", "is not accelerators such as"),
        ("any of []", "'' is not the name of a chip"),
        ("any of [H100, ]", "'' is not the name of a chip"),
        ("..", "has no bound"),
        ("80GB..24GB", "the lower bound is above the upper"),
        ("24kb..", "'24kb' is not the memory of a device"),
        ("0GB..", "'0GB' is no memory at all"),
        ("24GB..x", "'x' is not the memory of a device"),
        ("x" * 9000, "is not accelerators such as"),
        (True, "expected accelerators"),
        (None, "expected accelerators"),
        ([], "expected accelerators"),
        ({"chips": "H100"}, "'chips' is not a key of accelerators; keys are chip, any_of, memory, count"),
        ({"chip": "H100", "any_of": ["H800"]}, "keep one"),
        ({"chip": 3}, "chip must be a name"),
        ({"any_of": "H100"}, "any_of must be a list"),
        ({"any_of": []}, "1 to 64 chips"),
        ({"memory": 24}, "memory must be a range"),
        ({"count": None}, "count must be a number"),
    ],
)
def test_what_is_none_says_why(written: object, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_accelerators(written)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_fields_behind_a_text() -> None:
    assert parse_accelerators("gpu: 0.5") == Accelerators(num=1, milli=500)
    assert parse_accelerators("24GB..80GB:2") == Accelerators(num=2, min_memory_mib=22889, max_memory_mib=81920)


@pytest.mark.parametrize("reported_mib", [23028, 24564, 24576])
def test_vendors_gigabytes(reported_mib: int) -> None:
    """What drivers report of 24 GB devices, and what it says on the box."""
    assert parse_accelerators("24GB").allows("A10", reported_mib)
    assert not parse_accelerators("32GB..").allows("A10", reported_mib)
    assert not parse_accelerators("..16GB").allows("A10", reported_mib)


def test_what_a_request_allows() -> None:
    assert parse_accelerators("H100").allows("H100", 0)
    assert not parse_accelerators("H100").allows("H800", 81920)
    assert parse_accelerators("gpu").allows("anything", 0)
    assert not parse_accelerators("gpu").allows("cpu", 0)
    assert not parse_accelerators("gpu").allows("", 0)
    assert parse_accelerators("cpu:2").allows("cpu", 0)
    assert not parse_accelerators("24GB..").allows("G2", 0)
    assert parse_accelerators("..24GB").allows("T4", 15360)
    assert not parse_accelerators("..24GB").allows("G2", 0)


def test_chips_described_elsewhere() -> None:
    with pytest.raises(ValueError, match="there is no chip 'G2'"):
        parse_accelerators("G2:4")
    assert parse_accelerators("G2:4", ["G2"]).chips == ("G2",)
    assert ADAPTER.validate_python("g2", context={"chips": {"G2"}}).chips == ("G2",)


def test_in_a_model() -> None:
    one = ADAPTER.validate_python("A100 60GB..:4")
    assert ADAPTER.dump_python(one, mode="json") == str(one)
    assert ADAPTER.validate_python(str(one)) == one
    with pytest.raises(ValidationError, match="did you mean 'H100'"):
        ADAPTER.validate_python("H10")


REQUESTS = st.builds(
    lambda num, milli, chips, low, extra, bounded: Accelerators(
        num=num if milli == 1000 else 1,
        milli=milli,
        chips=tuple(sorted(chips)),
        min_memory_mib=low,
        max_memory_mib=max(1, low + extra) if bounded else 0,
    ),
    st.integers(1, MAX_COUNT),
    st.integers(1, 1000),
    st.sets(st.sampled_from(sorted(CHIPS)), max_size=5),
    st.integers(0, 2**21),
    st.integers(0, 2**21) | st.integers(0, 2000).map(lambda gib: gib * 1024),
    st.booleans(),
)


@given(REQUESTS)
def test_canonical_text_reads_back(one: Accelerators) -> None:
    assert parse_accelerators(str(one)) == one


PIECES = st.sampled_from(
    ["H100", "gpu", "any of", "[", "]", ",", ":", " ", "..", "24", "GB", "0.5", "8", "MiB", "A100", ".", "x", "\n", "٣"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["chip", "any_of", "memory", "count", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(ANYTHING | st.lists(PIECES, max_size=9).map("".join))
def test_any_value_is_a_request_or_a_value_error(value: object) -> None:
    try:
        one = parse_accelerators(value)
    except ValueError as caught:
        sound = bool(str(caught))
    else:
        shared = one.num == 1 if one.milli < 1000 else one.milli == 1000
        sound = parse_accelerators(str(one)) == one and shared and 1 <= one.num <= MAX_COUNT and one.milli > 0
    assert sound
