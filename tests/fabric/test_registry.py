"""Networks by name, from values and from text."""

import pytest

from roadbed.errors import NotFoundError, UsageError
from roadbed.fabric.registry import FAMILIES, build, find


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_built_can_be_built_again(name: str) -> None:
    first = build(name, gpus=16)
    again = build(name, **first.parameters)
    assert again.num_gpus == first.num_gpus >= 16
    assert (again.src == first.src).all()
    assert (again.capacity == first.capacity).all()


def test_text_is_understood() -> None:
    fabric = build("hpn7", gpus=16, planes="1", with_core="true", uplink_gbps="100")
    assert fabric.parameters["planes"] == 1
    assert fabric.parameters["with_core"] is True
    assert fabric.parameters["uplink_gbps"] == 100.0


def test_whole_servers() -> None:
    assert build("hpn7", gpus=9).num_gpus == 16


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'hpn7'"):
        build("hpn")
    with pytest.raises(UsageError, match="did you mean 'segments'") as caught:
        build("hpn7", segmants="3")
    assert caught.value.field == "segmants"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"planes": "3"}, "planes=3"),
        ({"segments": "-1"}, "segments=-1"),
        ({"segments": "many"}, "segments=many"),
        ({"uplink_gbps": "nan"}, "uplink_gbps=nan"),
        ({"aggs_per_plane": "0"}, "aggs_per_plane=0"),
    ],
)
def test_values_out_of_range_are_named(given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("hpn7", gpus=16, **given)


def test_no_gpus_are_the_full_size() -> None:
    assert build("spectrum_x", gpus=0).num_gpus == build("spectrum_x").num_gpus == 4_096
    with pytest.raises(UsageError, match="gpus=-1"):
        build("hpn7", gpus=-1)


@pytest.mark.parametrize("given", [{"gpus": 1 << 21}, {"pods": 1 << 20}, {"gpus": 16, "aggs_per_plane": 1 << 20}])
def test_sizes_are_bounded_before_anything_is_built(given: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        build("hpn7", **given)


def test_dashes_are_underscores() -> None:
    assert find("dcn-plus") is FAMILIES["dcn_plus"]
