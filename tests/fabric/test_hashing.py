"""Switch hashes: against zlib and binascii, and what they do to flows at cascaded tiers."""

import binascii
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.fabric.base import Ints, Kind
from roadbed.fabric.hashing import (
    FIRST_PORT,
    NUM_PORTS,
    ROCE_PORT,
    HashModel,
    Words,
    address,
    bond_port,
    draw_ports,
    find_ports,
    mix,
)
from roadbed.fabric.registry import build

U32 = st.integers(0, 2**32 - 1)


def words(*values: int) -> Words:
    return np.array(values, np.uint32)


def packed(src: int, dst: int, port: int) -> bytes:
    return struct.pack(">IIHHB", src, dst, port, ROCE_PORT, 17)


def _flipped(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


@given(U32, U32, st.integers(0, 65_535))
def test_crc32_is_that_of_zlib(src: int, dst: int, port: int) -> None:
    (crc,) = HashModel(crc=32).of_tuple(words(src), words(dst), words(port))
    assert int(crc) ^ 0xFFFF_FFFF == zlib.crc32(packed(src, dst, port))


@given(U32, U32, st.integers(0, 65_535))
def test_crc16_is_that_of_binascii(src: int, dst: int, port: int) -> None:
    """binascii goes from the highest bit; ours from the lowest: the same register in a mirror."""
    (crc,) = HashModel(crc=16).of_tuple(words(src), words(dst), words(port))
    mirrored = bytes(_flipped(byte, 8) for byte in packed(src, dst, port))
    assert _flipped(int(crc), 16) == binascii.crc_hqx(mirrored, 0xFFFF)


@pytest.mark.parametrize("bits", [16, 32])
@given(src=U32, dst=U32, port=st.integers(0, 65_535))
def test_port_terms_turn_one_tuple_into_the_other(bits: int, src: int, dst: int, port: int) -> None:
    model = HashModel(crc=16 if bits == 16 else 32)
    without, with_port = (model.of_tuple(words(src), words(dst), words(one)) for one in (0, port))
    assert without ^ model.port_terms()[port] == with_port


@given(st.lists(U32, unique=True, min_size=2, max_size=50))
def test_mix_loses_nothing(values: list[int]) -> None:
    assert len(set(mix(words(*values)).tolist())) == len(values)


def _used_links(model: HashModel) -> tuple[int, int]:
    """Links used at a ToR of 64 uplinks, and at the Agg its link 5 leads to, of 16."""
    rng = np.random.default_rng(3)
    num = 60_000
    crc = model.of_tuple(*(rng.integers(0, 2**32, num, dtype=np.uint32) for _ in range(2)), words(*[50_000] * num))
    kinds = np.full(num, Kind.TOR, np.int8)
    up = model.spread(crc, np.full(num, 11, np.int32), kinds) % np.uint32(64)
    there = crc[up == 5]
    down = model.spread(there, np.full(len(there), 99, np.int32), kinds[: len(there)] + np.int8(1)) % np.uint32(16)
    return len(np.unique(up)), len(np.unique(down))


@pytest.mark.parametrize("bits", [16, 32])
def test_equal_seeds_polarise_and_others_do_not(bits: int) -> None:
    crc = 16 if bits == 16 else 32
    assert _used_links(HashModel(crc=crc)) == (64, 1)
    assert _used_links(HashModel(crc=crc, seeds=(1, 2, 3))) == (64, 16)
    assert _used_links(HashModel(crc=crc, seed_per="switch")) == (64, 16)


def test_links_are_used_evenly() -> None:
    model = HashModel()
    num = 64_000
    src = np.arange(num, dtype=np.uint32)
    crc = model.of_tuple(src, src + np.uint32(77), draw_ports(1, src.astype(np.int32), np.zeros(num, np.int32)))
    word = model.spread(crc, np.zeros(num, np.int32), np.full(num, Kind.TOR, np.int8))
    counts = np.bincount(word % np.uint32(60), minlength=60)
    assert counts.min() > 0.85 * num / 60
    assert counts.max() < 1.15 * num / 60


def _spots(num: int) -> tuple[Words, Ints, Ints]:
    rng = np.random.default_rng(5)
    base = HashModel().of_tuple(*(rng.integers(0, 2**32, num, dtype=np.uint32) for _ in range(2)), words(*[0] * num))
    return base, rng.integers(0, 500, num).astype(np.int32), rng.integers(0, 60, num).astype(np.int32)


def test_find_ports_lands_where_it_should() -> None:
    model = HashModel()
    base, switch, wanted = _spots(2_000)
    fanout = np.full(len(base), 60, np.int32)
    start = draw_ports(1, switch, wanted)
    ports = find_ports(model, base, switch, fanout, wanted, start)
    assert ports.min() >= FIRST_PORT
    assert ports.max() < FIRST_PORT + NUM_PORTS
    crc = base ^ model.port_terms()[ports]
    word = model.spread(crc, switch, np.full(len(base), Kind.TOR, np.int8))
    assert np.array_equal(word % np.uint32(60), wanted)


def test_find_ports_says_where_no_port_will_do() -> None:
    base, switch, _ = _spots(3)
    beyond = np.array([70, 3, 60], np.int32)
    ports = find_ports(HashModel(), base, switch, np.full(3, 60, np.int32), beyond, words(*[FIRST_PORT] * 3))
    assert (ports >= 0).tolist() == [False, True, False]


def test_source_ports_depend_on_nobody_else() -> None:
    keys = np.arange(1000, dtype=np.int32)
    pair = np.zeros(1000, np.int32)
    ports = draw_ports(4, keys, pair)
    assert np.array_equal(draw_ports(4, keys[::-1], pair)[::-1], ports)
    assert not np.array_equal(draw_ports(5, keys, pair), ports)
    assert len(np.unique(ports)) > 900
    assert (ports >= FIRST_PORT).all()


@given(U32, U32, st.integers(0, 65_535), st.integers(1, 4))
def test_bond_hashes_as_linux_does(src: int, dst: int, port: int, num: int) -> None:
    word = ((port << 16) | ROCE_PORT) ^ src ^ dst
    word ^= word >> 16
    word ^= word >> 8
    assert bond_port(words(src), words(dst), words(port), np.array([num])).tolist() == [(word >> 1) % num]


def test_cards_have_addresses_of_their_own() -> None:
    fabric = build("hpn7", gpus=64)
    found = address(fabric, fabric.gpu_nic)
    assert found[0] == 0x0A00_0001
    assert len(np.unique(found)) == 64
