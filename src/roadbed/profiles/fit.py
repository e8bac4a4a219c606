"""From measured tables to a StepModel: weighted least squares, coefficient by coefficient.

Two kinds of tables are understood. *End to end*: seconds to the first token by prompt length, and seconds between
tokens by (share of the KV cache, context length), as engine profilers sweep them. *Kernels*: microseconds of one
layer's parts by tokens, of attention by (chunk, cached, sequences, context), and of the parts that are there once.
Kernels give a finer model, because the tables hold what an iteration is made of; end to end gives four straight lines.

Residuals are weighed by 1 / measured, i.e. relative errors are what is made small: a table spans three decades, and
plain squares would fit its largest corner alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from roadbed.profiles.model import Curve, StepModel, line

Floats = NDArray[np.float64]
AttentionRow = tuple[int, int, int, int, float]
"""(prefill chunk, cached tokens of its prompt, sequences decoding, context of each, microseconds)"""
Table = Mapping[int, float]
"""tokens (or sequences) → microseconds"""

_MOST_KNOTS = 28
_FEWEST_KV, _MOST_KV = 64, 8192
"""Contexts that the line of a decoding batch goes by: below, a kernel's start-up is all there is."""
_US = 1e-6


def weighted(columns: Sequence[Floats], measured: Floats) -> Floats:
    """Coefficients ≥ 0 of `columns` that minimise Σ ((fit − measured) / measured)².

    Active set: the most negative coefficient is set to 0 and the rest is solved again, until none is below 0. Raises
    ValueError when nothing was measured.
    """
    if not len(measured):
        raise ValueError("a fit of no measurements")
    weights = 1.0 / np.maximum(measured, 1e-12)
    matrix = np.column_stack(columns) * weights[:, None]
    active = list(range(matrix.shape[1]))
    found = np.zeros(matrix.shape[1])
    while active:
        part = np.linalg.lstsq(matrix[:, active], measured * weights, rcond=None)[0]
        if part.min() >= 0:
            found[active] = part
            break
        active.pop(int(part.argmin()))
    return found


def from_sweeps(
    prompt_tokens: Sequence[float], ttft_s: Sequence[float], kv_share: Sequence[float], context_tokens: Sequence[float],
    itl_s: Sequence[float], kv_capacity_tokens: float,
) -> StepModel:  # fmt: skip
    """A model from end-to-end sweeps: TTFT = e + a · n (least squares, plain: the line must carry long prompts), and
    ITL = e + c · sequences + d · cached tokens, where cached = share · capacity and sequences = cached / context.

    A prompt's attention to its own past is inside a, as it was measured; prompts cut into chunks are taken to cost the
    same per token, which flatters chunks late in prompts far longer than the sweep's longest.
    """
    tokens, ttft = np.asarray(prompt_tokens, float), np.asarray(ttft_s, float)
    slope, offset = np.polyfit(tokens, ttft, 1)
    kv = np.asarray(kv_share, float) * kv_capacity_tokens
    seqs = np.maximum(1.0, kv / np.asarray(context_tokens, float))
    itl = np.asarray(itl_s, float)
    columns = np.column_stack([np.ones_like(kv), seqs, kv])
    step, per_seq, per_kv = np.linalg.lstsq(columns, itl, rcond=None)[0]
    return StepModel(
        chunk=line(float(slope), max(0.0, float(offset))),
        decode_base=line(float(per_seq), float(step)),
        decode_kv=Curve((0.0,), (float(per_kv),)),
    )


def from_kernels(
    *, num_layers: int, per_layer: Sequence[tuple[Table, int]], once: Sequence[Table], head: Sequence[Table],
    attention: Sequence[AttentionRow],
) -> StepModel:  # fmt: skip
    """A model from kernel tables. `per_layer`: (table by tokens, times it runs in a layer); `once`: tables by tokens;
    `head`: tables by sequences. Attention is fitted per chunk size and per number of sequences."""
    tokens = sorted(set.intersection(*[set(table) for table, _ in per_layer]))
    dense = [num_layers * sum(table[t] * times for table, times in per_layer) for t in tokens]
    once_us = [sum(_lookup(table, t) for table in once) for t in tokens]
    chunk, context = _fit_chunks(attention)
    base, per_kv = _fit_decodes(attention)
    mixed_base, mixed_kv = _fit_mixed(attention, chunk, context)
    scale = num_layers * _US
    return StepModel(
        dense=thinned(tokens, [(a + b) * _US for a, b in zip(dense, once_us, strict=True)]),
        head=_head(head),
        chunk=chunk.scaled(scale),
        context=context.scaled(scale),
        decode_base=base.scaled(scale),
        decode_kv=per_kv.scaled(scale),
        mixed_base=mixed_base.scaled(scale),
        mixed_kv=mixed_kv.scaled(scale),
    )


def thinned(x: Sequence[float], y: Sequence[float], most: int = _MOST_KNOTS) -> Curve:
    """A curve through at most `most` of the points, greedily those that keep the largest relative error small."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    kept = [0, len(xs) - 1]
    while len(kept) < min(most, len(xs)):
        guess = np.interp(xs, xs[kept], ys[kept])
        error = np.abs(guess - ys) / np.maximum(ys, 1e-12)
        worst = int(error.argmax())
        if error[worst] < 0.005:
            break
        kept = sorted({*kept, worst})
    kept = sorted(set(kept))
    return Curve(tuple(float(xs[at]) for at in kept), tuple(float(f"{ys[at]:.5g}") for at in kept))


def _lookup(table: Table, at: int) -> float:
    xs = sorted(table)
    return float(np.interp(at, xs, [table[x] for x in xs]))


def _head(tables: Sequence[Table]) -> Curve:
    seqs = sorted(set.intersection(*[set(table) for table in tables])) if tables else []
    if not seqs:
        return Curve()
    return thinned(seqs, [sum(table[n] for table in tables) * _US for n in seqs])


def _fit_chunks(rows: Sequence[AttentionRow]) -> tuple[Curve, Curve]:
    """Per chunk size c: time = chunk(c) + context(c) · cached, over rows without decodes."""
    alone = [row for row in rows if row[0] and not row[2]]
    sizes = sorted({row[0] for row in alone})
    base, slope = [], []
    for size in sizes:
        mine = [row for row in alone if row[0] == size]
        cached, measured = _floats(row[1] for row in mine), _floats(row[4] for row in mine)
        found = weighted([np.ones_like(cached), cached], measured)
        first = next((row[4] for row in mine if row[1] == 0), float(found[0]))
        base.append(first)
        slope.append(float(found[1]))
    return thinned(sizes, base), thinned(sizes, slope)


def _fit_decodes(rows: Sequence[AttentionRow]) -> tuple[Curve, Curve]:
    """Per number of sequences: time = base + slope · cached tokens, over rows without chunks."""
    usual = [row for row in rows if row[2] and not row[0] and _FEWEST_KV <= row[3] <= _MOST_KV]
    return _per_batch([(row[2], row[2] * row[3], row[4]) for row in usual])


def _fit_mixed(rows: Sequence[AttentionRow], chunk: Curve, context: Curve) -> tuple[Curve, Curve]:
    """The same over rows with chunks, of what is left after the chunk's own time."""
    left = []
    for new, cached, seqs, length, measured in rows:
        if new >= 64 and seqs and cached <= 4096:
            left.append((seqs, seqs * length, max(measured - chunk.at(new) - context.at(new) * cached, 1.0)))
    return _per_batch(left)


def _per_batch(rows: Sequence[tuple[int, int, float]]) -> tuple[Curve, Curve]:
    sizes = sorted({row[0] for row in rows})
    base, slope = [], []
    for size in sizes:
        mine = [row for row in rows if row[0] == size]
        kv, measured = _floats(row[1] for row in mine), _floats(row[2] for row in mine)
        found = weighted([np.ones_like(kv), kv], measured)
        base.append(float(found[0]))
        slope.append(float(found[1]))
    if not sizes:
        return Curve(), Curve()
    return thinned(sizes, base), thinned(sizes, slope)


def _floats(values: object) -> Floats:
    return np.fromiter(values, float)  # type: ignore[call-overload,no-any-return]
