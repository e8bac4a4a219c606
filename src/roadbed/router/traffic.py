"""What a gateway remembers of a request so that yesterday's traffic can be replayed: no text, only hashes and numbers.

Prompt blocks are chained hashes, so every `stride`-th of them says as much about shared prefixes as all of them, at the
block size of engines (512 tokens, the size of the Mooncake trace). They are cut to 53 bits, which any JSON reader keeps
exactly; two different prefixes of a day's traffic meet once in some millions of years.
"""

from collections.abc import Sequence

import msgspec

BLOCK_TOKENS = 512
MAX_BLOCKS = 1024
_MASK = (1 << 53) - 1


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One settled request: a line of the traffic log."""

    at: float
    """Unix seconds of its arrival."""
    service: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    block_tokens: float
    """Tokens one of `blocks` stands for."""
    blocks: list[int]
    """Chained hashes of the prompt's full blocks, first to last."""
    priority: int = 5
    session: int = 0
    """Hash of its name; 0 = none."""
    stream: bool = True
    replica: str = ""
    route: str = ""
    predicted_ttft_s: float = 0.0
    """When it was sent; 0 = not predicted."""
    ttft_s: float = 0.0
    """From then on; 0 when no token came, or all at once."""
    waited_s: float = 0.0
    """In the gateway's queue."""
    total_s: float = 0.0
    outcome: str = "ok"


def coarse(blocks: Sequence[int], block_tokens: float) -> tuple[list[int], float]:
    """The blocks at about BLOCK_TOKENS tokens each (fewer where there would be more than MAX_BLOCKS), and how many."""
    stride = max(1, round(BLOCK_TOKENS / max(block_tokens, 1e-9)))
    while len(blocks) // stride > MAX_BLOCKS:
        stride *= 2
    return [block & _MASK for block in blocks[stride - 1 :: stride]], block_tokens * stride
