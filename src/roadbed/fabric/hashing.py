"""How a switch picks one of several equal links: a CRC over the 5-tuple, scrambled with a seed, modulo the links.

A switch chip computes a CRC of the packet's addresses and ports, so all packets of a connection take one way. The seed
decides what happens at the next switch: where two tiers use the same one, the second sees only the flows whose hash the
first already fixed, and uses a part of its links (hash polarisation, HPN §2.2). XOR with a seed alone would not help,
for a CRC is linear: the same bits would come out, flipped. So the seed goes in before a scramble that is not linear, as
the hash profiles of switch chips do.

Being linear also helps: the CRC of a 5-tuple is that of the tuple with port 0, XOR a term of the port alone. So looking
for a source port that lands on a wanted link (`findPaths`, HPN §6.1; RePaC) is one XOR per port tried.
"""

from functools import cache
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import Fabric, Ints, Kind

Words = npt.NDArray[np.uint32]

ROCE_PORT = 4791
UDP = 17
FIRST_PORT, NUM_PORTS = 49_152, 16_384
"""Source ports of RoCE v2 queue pairs: 49152–65535."""
_FIRST_ADDRESS = 0x0A00_0001
"""10.0.0.1 is the address of the first card; the ports of a card share it (HPN §4.3)."""
_POLYNOMIAL = {16: 0x8408, 32: 0xEDB8_8320}
"""Reversed: CRC-16/CCITT and CRC-32/IEEE, the two that chips offer everywhere."""
_START = {16: 0xFFFF, 32: 0xFFFF_FFFF}


class HashModel(msgspec.Struct, frozen=True, kw_only=True):
    """How all switches of a fabric hash."""

    crc: Literal[16, 32] = 16
    seed_per: Literal["tier", "switch"] = "tier"
    """tier: all ToRs use seeds[0], all Aggs seeds[1], all Cores seeds[2]. switch: each has its own."""
    seeds: tuple[int, int, int] = (0, 0, 0)
    """Equal seeds polarise; that is how switches leave the box. Any three different ones do not."""

    def of_tuple(self, src_ip: Words, dst_ip: Words, src_port: Words) -> Words:
        """[F] CRC over source and destination address, both ports and protocol 17, in network order."""
        table = _table(self.crc)
        crc = np.full(len(src_ip), _START[self.crc], np.uint32)
        for address in (src_ip, dst_ip):
            for shift in (24, 16, 8, 0):
                crc = _step(table, crc, address >> np.uint32(shift))
        for byte in (src_port >> np.uint32(8), src_port):
            crc = _step(table, crc, byte)
        for constant in (ROCE_PORT >> 8, ROCE_PORT & 0xFF, UDP):
            crc = _step(table, crc, np.uint32(constant))
        return crc

    def port_terms(self) -> Words:
        """[65536] What to XOR to the CRC of a tuple with source port 0 to get that with port p."""
        return _port_terms(self.crc)

    def spread(self, crc: Words, switch: Ints, kind: npt.NDArray[np.int8]) -> Words:
        """[F] The word a switch (node, of a Kind) takes modulo its number of links."""
        if self.seed_per == "switch":
            seed = mix(switch.astype(np.uint32) * np.uint32(0x9E37_79B1) + np.uint32(self.seeds[0] & 0xFFFF_FFFF))
        else:
            seeds = np.array([one & 0xFFFF_FFFF for one in self.seeds], np.uint32)
            seed = seeds[kind - Kind.TOR]
        return mix(crc ^ seed)


def mix(words: Words) -> Words:
    """A bijection of 32-bit words in which every input bit moves every output bit (MurmurHash3's finaliser)."""
    out = words ^ (words >> np.uint32(16))
    out = out * np.uint32(0x85EB_CA6B)
    out ^= out >> np.uint32(13)
    out *= np.uint32(0xC2B2_AE35)
    out ^= out >> np.uint32(16)
    return out


def address(fabric: Fabric, nic: Ints) -> Words:
    """[F] IPv4 addresses of cards, by their number."""
    return fabric.index[nic].astype(np.uint32) + np.uint32(_FIRST_ADDRESS)


def draw_ports(seed: int, key: Ints, queue_pair: Ints) -> Words:
    """[F] Source ports as a driver draws them: of a flow's key and queue pair alone, so that no flow's port depends on
    which others there are."""
    word = mix(key.astype(np.uint32) * np.uint32(0x9E37_79B1) + np.uint32(seed & 0xFFFF_FFFF))
    word = mix(word + queue_pair.astype(np.uint32) * np.uint32(0x85EB_CA77))
    return np.uint32(FIRST_PORT) + word % np.uint32(NUM_PORTS)


def bond_port(src_ip: Words, dst_ip: Words, src_port: Words, num_ports: npt.NDArray[np.integer]) -> Ints:
    """[F] Which of the ports of a bond a packet leaves by: Linux's `layer3+4` (bond_xmit_hash, drivers/net/bonding)."""
    word = (src_port << np.uint32(16)) | np.uint32(ROCE_PORT)
    word ^= src_ip ^ dst_ip
    word ^= word >> np.uint32(16)
    word ^= word >> np.uint32(8)
    chosen: Ints = ((word >> np.uint32(1)) % np.maximum(num_ports, 1).astype(np.uint32)).astype(np.int32)
    return chosen


def find_ports(model: HashModel, base: Words, switch: Ints, fanout: Ints, wanted: Ints, start: Words) -> Ints:
    """[F] The first source port, going round from `start`, that lands on the wanted one of a ToR's links; -1 where none
    of the 16,384 does. Expected work: fanout ports a flow."""
    found = np.full(len(base), -1, np.int32)
    left = np.arange(len(base))
    batch = 16
    offset = 0
    while len(left) and offset < NUM_PORTS:
        steps = np.arange(offset, min(offset + batch, NUM_PORTS), dtype=np.uint32)
        ports = np.uint32(FIRST_PORT) + (start[left, None] - np.uint32(FIRST_PORT) + steps) % np.uint32(NUM_PORTS)
        crc = base[left, None] ^ model.port_terms()[ports]
        where = np.repeat(switch[left], len(steps))
        word = model.spread(crc.ravel(), where, np.full(crc.size, Kind.TOR, np.int8)).reshape(crc.shape)
        hit = word % fanout[left, None].astype(np.uint32) == wanted[left, None]
        some = hit.any(axis=1)
        rows = np.flatnonzero(some)
        found[left[rows]] = ports[rows, hit[rows].argmax(axis=1)]
        left = left[~some]
        offset += len(steps)
        batch = min(4 * batch, max(16, 4_000_000 // max(1, len(left))))
    return found


@cache
def _table(bits: int) -> Words:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & np.uint32(1), (crc >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL[bits]), crc >> np.uint32(1))
    crc.setflags(write=False)
    return crc


@cache
def _port_terms(bits: int) -> Words:
    model = HashModel(crc=16 if bits == 16 else 32)
    ports = np.arange(65_536, dtype=np.uint32)
    nothing = np.zeros(len(ports), np.uint32)
    crc = model.of_tuple(nothing, nothing, ports)
    terms: Words = crc ^ crc[0]
    terms.setflags(write=False)
    return terms


def _step(table: Words, crc: Words, byte: Words | np.uint32) -> Words:
    out: Words = (crc >> np.uint32(8)) ^ table[(crc ^ byte) & np.uint32(0xFF)]
    return out
