"""Chained block hashes of a prompt: equal hash at position i means equal bytes up to the end of block i.

Bytes are hashed, not tokens: the gateway never tokenises. The price is that a block boundary is not a token boundary,
so a match says "about this many tokens" (Features.block_tokens each), which is all a cost in seconds needs.
"""

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest


def chain(data: bytes, seed: int, block_bytes: int) -> list[int]:
    """Hashes of the full blocks of `data`, first to last; a partial last block has none.

    `seed` separates what must not share a cache (another model, another adapter); the previous hash seeds the next.
    About 0.1 µs per block of 256 bytes. Raises ValueError when block_bytes < 1.
    """
    if block_bytes < 1:
        raise ValueError(f"block_bytes must be at least 1, not {block_bytes}")
    hashes: list[int] = []
    previous, start, end, length = seed, 0, block_bytes, len(data)
    while end <= length:
        previous = xxh3_64_intdigest(data[start:end], previous)
        hashes.append(previous)
        start, end = end, end + block_bytes
    return hashes


def salt(name: str) -> int:
    """The seed of an adapter's or a model's chains; 0, the plain chain, for ""."""
    return xxh3_64_intdigest(name.encode()) if name else 0


def salted(blocks: Sequence[int], name: str) -> Sequence[int]:
    """Hashes that stand for the same blocks under an adapter: equal only where blocks and names are.

    For hashes made elsewhere; below 2^48, so that the twin can still split blocks. `chain` takes a salt as its seed.
    """
    if not name:
        return blocks
    seed = salt(name)
    return [xxh3_64_intdigest(block.to_bytes(9, "little", signed=True), seed) >> 16 for block in blocks]
