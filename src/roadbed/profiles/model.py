"""Iteration time of a continuous-batching engine, from what one iteration computes.

    T = fixed + dense(tokens) + head(sequences) + collective(tokens)
      + Σ chunks: chunk(c) + context(c) · k            c new tokens of a prompt whose first k are in the cache
      + decode_base(n) + decode_kv(n) · K              n sequences decoding over K cached tokens together

A curve is piecewise linear through measured points, so a table keeps its steps (tiles, waves) and a straight line is a
curve of two points. At a fixed n the time of a decoding batch is linear in K: that is what lets the twin sum thousands
of iterations in one expression. `mixed_*` replace `decode_*` where an iteration also computes prompts, because one
attention kernel then serves both and decodes pay for its larger tiles. What the form leaves out: the spread of context
lengths within a batch, and which experts a mixture of experts wakes (its mean is in `dense`).
"""

from bisect import bisect_right
from collections.abc import Sequence

import msgspec


class Curve(msgspec.Struct, frozen=True):
    """y over x, linear between points, first value below the first, last slope above the last."""

    x: tuple[float, ...] = (0.0,)
    y: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y):
            raise ValueError(f"a curve of {len(self.x)} x and {len(self.y)} y")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise ValueError("the x of a curve must ascend")

    def at(self, x: float) -> float:
        """The value at x; never below 0 where the last slope falls."""
        xs, ys = self.x, self.y
        if x <= xs[0] or len(xs) == 1:
            return ys[0]
        high = min(bisect_right(xs, x), len(xs) - 1)
        low = high - 1
        return max(0.0, ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low]))

    def scaled(self, factor: float) -> "Curve":
        """The same curve times a factor."""
        return Curve(self.x, tuple(y * factor for y in self.y))


def line(slope: float, offset: float = 0.0) -> Curve:
    """offset + slope · x for x ≥ 0."""
    return Curve((0.0, 1.0), (offset, offset + slope))


class StepModel(msgspec.Struct, frozen=True, kw_only=True):
    """Coefficients, in seconds. Curves over: dense, collective, chunk, context: tokens; the others: sequences."""

    fixed_s: float = 0.0
    dense: Curve = Curve()
    head: Curve = Curve()
    collective: Curve = Curve()
    chunk: Curve = Curve()
    context: Curve = Curve()
    """Seconds per cached token, by new tokens of the chunk."""
    decode_base: Curve = Curve()
    decode_kv: Curve = Curve()
    """Seconds per cached token of the batch, by its sequences."""
    mixed_base: Curve | None = None
    mixed_kv: Curve | None = None


class StepTimer:
    """A StepModel with memory: curves are looked up once per whole number. Not thread safe."""

    __slots__ = ("_chunk", "_decode", "_memo_head", "_memo_tokens", "_mixed", "model")

    def __init__(self, model: StepModel) -> None:
        self.model = model
        self._memo_tokens: dict[int, float] = {}
        self._memo_head: dict[int, float] = {}
        self._chunk: dict[int, tuple[float, float]] = {}
        self._decode: dict[int, tuple[float, float]] = {}
        self._mixed: dict[int, tuple[float, float]] = {}

    def decode(self, num_seqs: int) -> tuple[float, float]:
        """(a, b): an iteration of `num_seqs` decodes and nothing else takes a + b · cached tokens seconds."""
        found = self._decode.get(num_seqs)
        if found is None:
            model = self.model
            fixed = self._tokens(num_seqs) + self._head(num_seqs) + model.decode_base.at(num_seqs)
            found = self._decode[num_seqs] = (fixed, model.decode_kv.at(num_seqs))
        return found

    def mixed(self, chunks: Sequence[tuple[int, int]], num_ends: int, num_decodes: int, kv_tokens: int) -> float:
        """Seconds of an iteration with prompt chunks (new, cached) of which `num_ends` end their prompts."""
        seconds, tokens = 0.0, num_decodes
        for new, cached in chunks:
            pair = self._chunk.get(new)
            if pair is None:
                pair = self._chunk[new] = (self.model.chunk.at(new), self.model.context.at(new))
            seconds += pair[0] + pair[1] * cached
            tokens += new
        if num_decodes:
            base, per_kv = self._mixed.get(num_decodes) or self._mix(num_decodes)
            seconds += base + per_kv * kv_tokens
        return seconds + self._tokens(tokens) + self._head(num_decodes + num_ends)

    def _mix(self, num_seqs: int) -> tuple[float, float]:
        model = self.model
        base, per_kv = model.mixed_base or model.decode_base, model.mixed_kv or model.decode_kv
        found = self._mixed[num_seqs] = (base.at(num_seqs), per_kv.at(num_seqs))
        return found

    def _tokens(self, tokens: int) -> float:
        found = self._memo_tokens.get(tokens)
        if found is None:
            model = self.model
            found = model.fixed_s + model.dense.at(tokens) + model.collective.at(tokens)
            self._memo_tokens[tokens] = found
        return found

    def _head(self, num_seqs: int) -> float:
        found = self._memo_head.get(num_seqs)
        if found is None:
            found = self._memo_head[num_seqs] = self.model.head.at(num_seqs)
        return found
