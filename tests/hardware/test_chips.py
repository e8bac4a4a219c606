"""Every figure is plausible and has a source; names find their chip, and a typo the nearest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import NotFoundError
from roadbed.hardware.chips import CHIPS, CPU, Chip, chip, resolve

DTYPES = {"fp32", "tf32", "bf16", "fp16", "fp8", "int8"}
PROMISED = {
    "A100-40GB", "A100-80GB", "H100", "H200", "H20", "H800", "L40S", "L20", "T4", "V100-16GB", "V100-32GB", "P100",
    "A10", "MI300X", "Ascend-910B", "cpu",
}  # fmt: skip
DEVICES = [one for one in CHIPS.values() if one.name != CPU]


def test_the_promised_chips_are_there() -> None:
    assert set(CHIPS) >= PROMISED


@pytest.mark.parametrize("one", CHIPS.values(), ids=lambda one: one.name)
def test_figures_are_whole(one: Chip) -> None:
    assert one.flops
    assert set(one.flops) <= DTYPES
    assert min(one.flops.values()) > 0
    assert one.memory_bandwidth_bytes_s > 0
    assert one.link_bandwidth_bytes_s > 0
    assert one.tdp_w > 0
    assert one.source


@pytest.mark.parametrize("one", DEVICES, ids=lambda one: one.name)
def test_units_are_not_off_by_a_thousand(one: Chip) -> None:
    """A slip of T for G would leave these bands, which all real devices are inside."""
    assert 16 * 1024 <= one.memory_mib <= 192 * 1024
    assert 0.3e12 <= one.memory_bandwidth_bytes_s <= 8e12
    assert 5e12 <= one.flops_of("fp16", "fp32") <= 2.5e15
    assert 32e9 <= one.link_bandwidth_bytes_s <= 1.8e12
    assert 70 <= one.tdp_w <= 1200


@pytest.mark.parametrize("one", CHIPS.values(), ids=lambda one: one.name)
def test_narrower_numbers_are_not_slower(one: Chip) -> None:
    ladder = [one.flops[dtype] for dtype in ("fp32", "tf32", "fp16", "fp8") if dtype in one.flops]
    assert ladder == sorted(ladder)


@pytest.mark.parametrize("one", CHIPS.values(), ids=lambda one: one.name)
def test_other_sources_name_figures_that_exist(one: Chip) -> None:
    for figure, source in one.other_sources.items():
        name, _, dtype = figure.partition(".")
        assert name in Chip.__struct_fields__
        assert not dtype or dtype in one.flops
        assert one.source_of(figure) == source
    assert one.source_of("name") == one.source


def test_known_figures() -> None:
    assert chip("H100").flops["bf16"] == pytest.approx(989.4e12)
    assert chip("H20").memory_mib == 96 * 1024
    assert chip("H800").link_bandwidth_bytes_s == 400e9
    assert chip("T4").flops_of("bf16", "fp16") == 65e12
    assert chip("P100").flops_of("int8") == 0.0


@pytest.mark.parametrize(
    ("name", "chips"),
    [
        ("H100", ("H100",)),
        ("h100", ("H100",)),
        ("A100", ("A100-40GB", "A100-80GB")),
        ("V100M32", ("V100-32GB",)),
        ("v100", ("V100-16GB", "V100-32GB")),
        ("910b", ("Ascend-910B",)),
        ("CPU", ("cpu",)),
    ],
)
def test_names_stand_for_chips(name: str, chips: tuple[str, ...]) -> None:
    assert resolve(name) == chips


@pytest.mark.parametrize(("typo", "meant"), [("H10", "H100"), ("A100-80", "A100-80GB"), ("MI300", "MI300X")])
def test_a_typo_finds_the_nearest(typo: str, meant: str) -> None:
    with pytest.raises(NotFoundError, match=f"there is no chip '{typo}'; did you mean '{meant}'"):
        resolve(typo)
    with pytest.raises(NotFoundError, match=f"did you mean '{meant}'"):
        chip(typo)


def test_what_is_near_nothing_lists_them_all() -> None:
    with pytest.raises(NotFoundError, match=r"chips are A100-40GB, .*, cpu, X9"):
        resolve("quux", ["X9"])


def test_custom_chips_are_found_first() -> None:
    assert resolve("g2", ["G2", "G3"]) == ("G2",)
    assert resolve("A100", ["A100"]) == ("A100",)
    assert resolve("x", ["X", "x"]) == ("x",)
    with pytest.raises(NotFoundError, match="did you mean 'G2'"):
        resolve("G22", ["G2"])


@given(st.text(max_size=12) | st.sampled_from(sorted(CHIPS)).map(str.swapcase))
def test_any_text_is_chips_or_not_found(text: str) -> None:
    try:
        found = resolve(text)
    except NotFoundError as caught:
        sound = repr(text) in caught.message
    else:
        sound = bool(found) and set(found) <= set(CHIPS) and list(found) == sorted(found)
    assert sound
