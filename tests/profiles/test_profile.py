from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, SpecError, UsageError
from roadbed.profiles.model import StepTimer
from roadbed.profiles.profile import Profile, Ranges, decode, encode, load, names, read, write

SHIPPED = (
    "h100-llama-3.3-70b-fp8",
    "h200-llama-3.1-8b-fp8",
    "rtx4090-llama-3.1-8b",
    "rtxpro6000-llama-3.1-8b",
    "rtxpro6000-qwen3-30b-a3b",
    "rtxpro6000-qwen3-32b",
)


def test_what_is_shipped() -> None:
    assert tuple(names()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_are_whole_and_make_sense(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert profile.measured
    assert profile.source
    assert profile.licence
    assert len(encode(profile)) < 20_000
    for variant in profile.variants.values():
        timer = StepTimer(variant.step)
        for n in (1, 8, 64, 256):
            fixed, per_kv = timer.decode(n)
            assert 0.001 < fixed < 0.2
            assert 1e-9 < per_kv < 1e-5
        prefill = [timer.mixed([(c, 0)], 1, 0, 0) for c in (256, 512, 1024, 2048)]
        assert prefill == sorted(prefill)
        assert timer.mixed([(512, 8192)], 1, 0, 0) >= timer.mixed([(512, 0)], 1, 0, 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_more_devices_are_faster_and_hold_more(name: str) -> None:
    variants = sorted((int(tp), variant) for tp, variant in load(name).variants.items())
    decode_s = [sum(StepTimer(v.step).decode(64)[0:1]) for _, v in variants if v.ranges.chunk_tokens > 10_000]
    assert decode_s == sorted(decode_s, reverse=True)
    assert [v.kv_tokens for _, v in variants] == sorted(v.kv_tokens for _, v in variants)


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    profile = load("rtxpro6000-qwen3-32b")
    write(profile, tmp_path / "own.json")
    assert read(tmp_path / "own.json") == profile
    assert load(str(tmp_path / "own.json")) == profile


def test_a_pair_nobody_measured_is_guessed_and_says_so() -> None:
    profile = load("l40s-qwen3-8b")
    assert not profile.measured
    assert "nobody measured" in profile.fit


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        load("h200-llama-3.1-8b-fp16x")
    assert caught.value.hint is not None
    assert "h200-llama-3.1-8b-fp8" in caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load(str(tmp_path / "none.json"))


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read(tmp_path)


def test_a_degree_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="degree 16; there is 2, 4, 8"):
        load("h100-llama-3.3-70b-fp8").variant(16)


def changed(**fields: object) -> bytes:
    plain = msgspec.to_builtins(load("h200-llama-3.1-8b-fp8"))
    variant = plain["variants"]["1"]
    for name, value in fields.items():
        target = variant["step"] if name in variant["step"] else variant if name in variant else plain
        target[name] = value
    return msgspec.json.encode(plain)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"tp": 8}, "tp: no variant for degree 8"),
        ({"kv_tokens": 0}, "kv_tokens"),
        ({"fixed_s": -1.0}, "below 0"),
        ({"chunk": {"x": [0.0], "y": [-1.0]}}, "chunk is below 0"),
        ({"chunk": {"x": [1.0, 0.0], "y": [1.0, 1.0]}}, "ascend"),
        ({"decode_base": {"x": [0.0], "y": [0.0]}}, "takes no time"),
        ({"variants": {}}, "no variant"),
        ({"name": 3}, "name"),
    ],
)
def test_what_makes_no_sense_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        decode(changed(**fields), "own.json")


@given(st.binary(max_size=200))
def test_bytes_are_a_profile_or_a_complaint(data: bytes) -> None:
    with pytest.raises(SpecError, match=r"own\.json"):
        decode(data, "own.json")


def test_ranges_name_what_lies_beyond() -> None:
    ranges = Ranges(chunk_tokens=2048, sequences=128)
    assert ranges.beyond(chunk_tokens=2048, context_tokens=10**9, sequences=128) == []
    assert ranges.beyond(chunk_tokens=8192, sequences=256) == [
        "chunk tokens 8,192 (measured to 2,048)",
        "sequences 256 (measured to 128)",
    ]


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(SpecError, match="no profile"):
        read(tmp_path / "big.json")


def test_a_profile_needs_its_own_variant() -> None:
    assert isinstance(load("h200-llama-3.1-8b-fp8"), Profile)
    assert load("h100-llama-3.3-70b-fp8").variant() == load("h100-llama-3.3-70b-fp8").variant(4)
