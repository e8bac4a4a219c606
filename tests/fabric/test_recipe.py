"""Networks as text: three formats behind one function."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, SpecError, UsageError
from roadbed.fabric import recipe, registry, simai
from roadbed.fabric.base import Kind


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_a_recipe_builds_what_it_was_written_from(name: str) -> None:
    first = registry.build(name, gpus=32)
    again = recipe.read(recipe.write(first), "net.yaml")
    assert again.parameters == first.parameters
    assert (again.dst == first.dst).all()


def test_a_recipe_says_only_what_was_asked_for() -> None:
    assert recipe.write(registry.build("hpn7", gpus=448, planes="1")) == "fabric: hpn7\ngpus: 448\nplanes: 1\n"


def test_options_win_over_the_file() -> None:
    text = "fabric: hpn7\ngpus: 448\nplanes: 1\n"
    fabric = recipe.read(text, "net.yaml", gpus=64, settings={"planes": "2"})
    assert fabric.num_gpus == 64
    assert fabric.traits.dual_plane


def test_simai_and_hand_written_are_recognised() -> None:
    text = simai.write(registry.build("spectrum_x", gpus=16))
    assert recipe.read(text, "topo").name == "simai"
    assert recipe.read("fabric: custom\nservers: {count: 1}\n", "net.yaml").name == "custom"


def test_what_is_written_out_is_as_it_is() -> None:
    text = "fabric: custom\nservers: {count: 1}\n"
    assert recipe.read(text, "net.yaml", gpus=4).num_gpus == 8
    with pytest.raises(UsageError, match=r"net\.yaml has 8 GPUs, not 9"):
        recipe.read(text, "net.yaml", gpus=9)
    with pytest.raises(UsageError, match="planes can't be set"):
        recipe.read(text, "net.yaml", settings={"planes": "1"})
    assert recipe.read(recipe.write(recipe.read(text, "net.yaml")), "again.yaml").num_gpus == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "n:1: holds no network"),
        ("- 1\n", "n:1: holds no network"),
        ("a: 1\n---\nb: 1\n", "n:1: holds no network"),
        ("gpus: 8\n", "n:1: fabric is missing"),
        ("gpus: 8\nfabric: 3\n", "n:2: fabric is not a name"),
        ("fabric: hpn7\ngpus: [1]\n", "n:2: gpus must be one value"),
        ("fabric: hpn7\n\nplane: 2\n", "n:3: hpn7 has no parameter 'plane'"),
        ("fabric: hpn7\nplanes: 3\n", "n:2: hpn7: planes=3"),
        ("fabric: hpn7\ngpus: 4096\nsegments: 1\npods: 1\n", "n:2: 4,096 GPUs do not fit"),
        ("fabric: hpn7\nfabric: hpn7\n", "n:2: key 'fabric' is written twice"),
        ("fabric: [\n", "n:2:"),
    ],
)
def test_every_mistake_has_its_line(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        recipe.read(text, "n")
    assert str(caught.value).startswith(said)


def test_an_option_is_no_fault_of_a_line() -> None:
    with pytest.raises(SpecError) as caught:
        recipe.read("fabric: hpn7\ngpus: 8\n", "n", settings={"plane": "1"})
    assert str(caught.value).startswith("n: hpn7 has no parameter 'plane'")


def test_a_family_nobody_knows() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'hpn7'"):
        recipe.read("fabric: hpn8\n", "n")


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["gpus", "planes", "segments", "chip", "k", "x"]),
        st.one_of(st.integers(-2, 300), st.sampled_from(["H100", "yes", "", "nan"]), st.booleans()),
        max_size=4,
    )
)
def test_any_recipe_is_a_network_or_an_error(parameters: dict[str, object]) -> None:
    text = "fabric: dcn_plus\n" + "".join(f"{key}: {value}\n" for key, value in parameters.items())
    try:
        assert len(recipe.read(text, "n").nodes(Kind.TOR)) > 0
    except (SpecError, NotFoundError) as error:
        assert error.message
