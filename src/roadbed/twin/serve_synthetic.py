"""Made-up request streams, for questions no recorded trace answers; every report of one says that it is synthetic.

`synthetic:rate=5,seconds=600,prompt=1024,output=256` is a Poisson process of log-normal lengths. `share` gives prompts
a common head (system prompts, documents) drawn from `prefixes` of them by a Zipf law; `turns` makes each arrival a
conversation whose next question repeats all before it; `swing` lets the rate follow a day's sine once over the run.
`adapters` lets every arrival want one of so many by a Zipf law of exponent `zipf`.

`shape=FILE` lets it follow a recorded day instead, stretched over `seconds` at the mean `rate`; `lengths=FILE` draws
prompt and output lengths of the requests of a trace, both of one of them, instead of log-normal ones.
"""

import difflib
import itertools
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from roadbed.errors import UsageError
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_shape import Shape, read_shape
from roadbed.twin.serve_trace import Trace

PREFIX = "synthetic:"
BLOCK_TOKENS = 64
_MOST_REQUESTS = 5_000_000
_MOST_HEADS = 1 << 16
_SIGMA = 0.8
_THINK_S = 20.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """rate: arrivals per second; prompt, output: mean tokens; share: of a prompt that is a common head, 0..1. adapters:
    0 = everybody asks for the base model; zipf: 0 makes all of them equally popular."""

    rate: float = 1.0
    seconds: float = 600.0
    prompt: float = 1024.0
    output: float = 256.0
    share: float = 0.0
    prefixes: float = 16.0
    turns: float = 1.0
    swing: float = 0.0
    adapters: float = 0.0
    zipf: float = 1.0
    seed: float = 0.0
    shape: str = ""
    lengths: str = ""


_FILES = ("shape", "lengths")
_LEAST = {"rate": 1e-6, "seconds": 1e-3, "prompt": 1.0, "output": 1.0, "prefixes": 1.0, "turns": 1.0}
_MOST = {"share": 1.0, "swing": 1.0, "prompt": 1e6, "output": 1e6, "prefixes": 1e6, "turns": 1000.0,
         "adapters": 1e4, "zipf": 10.0}  # fmt: skip


def parse(text: str) -> Recipe:
    """`synthetic:rate=5,…` → a recipe. UsageError naming the part that makes no sense."""
    values: dict[str, Any] = {}
    for part in filter(None, text.removeprefix(PREFIX).split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in Recipe.__struct_fields__:
            near = difflib.get_close_matches(name, Recipe.__struct_fields__, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise _wrong(f"{name!r} is none of {', '.join(Recipe.__struct_fields__)}{meant}")
        if name in _FILES:
            if not value:
                raise _wrong(f"{name} names no file")
            values[name] = value
            continue
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not _LEAST.get(name, 0.0) <= number <= _MOST.get(name, 1e9):
            words = f"a number from {_LEAST.get(name, 0.0):g} to {_MOST.get(name, 1e9):g}"
            raise _wrong(f"{name} is {value!r}, not {words}")
        values[name] = number
    recipe = Recipe(**values)
    if recipe.shape and recipe.swing:
        raise _wrong("shape and swing are two days; give one")
    if recipe.rate * recipe.seconds * recipe.turns > _MOST_REQUESTS:
        raise _wrong(f"rate · seconds · turns is above {_MOST_REQUESTS:,} requests")
    return recipe


def generate(recipe: Recipe) -> Trace:
    """The stream of a recipe; the same seed gives the same stream. Raises what reading `shape` and `lengths` does."""
    chance = random.Random(int(recipe.seed))
    relative, most = _rates(recipe)
    lengths = _Lengths(recipe, chance)
    trace = Trace("synthetic", BLOCK_TOKENS, synthetic=True)
    trace.notes.append(f"{trace.name}: made up, not recorded: {_words(recipe)}")
    weights = [1 / rank for rank in range(1, int(recipe.prefixes) + 1)]
    heads = random.Random(int(recipe.seed) + 1).choices(range(len(weights)), weights, k=_MOST_HEADS)
    adapters = _Adapters(recipe)
    now_s, number = 0.0, 0
    while True:
        now_s += chance.expovariate(recipe.rate * most)
        if now_s >= recipe.seconds:
            break
        if relative is not None and chance.random() * most > relative(now_s):
            continue
        _conversation(trace, recipe, chance, now_s, number, heads[number % _MOST_HEADS], lengths, adapters.draw())
        number += 1
    if not len(trace):
        raise _wrong("no request falls into that time; raise rate or seconds")
    return trace.in_order()


def _conversation(
    trace: Trace, recipe: Recipe, chance: random.Random, now_s: float, number: int, head: int,
    lengths: "_Lengths", adapter: str,
) -> None:  # fmt: skip
    """One arrival and the turns that follow it: a turn's prompt is all before it and a new question."""
    turns = max(1, round(chance.expovariate(1 / recipe.turns))) if recipe.turns > 1 else 1
    first = lengths.prompt()
    shared = int(first * recipe.share) // BLOCK_TOKENS
    session = f"made-{number}" if turns > 1 else None
    prompt = first
    for _ in range(turns):
        output = lengths.output()
        own = prompt // BLOCK_TOKENS - shared
        blocks = [*(-1 - head * 65536 - at for at in range(shared)), *((number << 20) + at for at in range(own))]
        trace.add(now_s, prompt, output, blocks, session, adapter=adapter)
        prompt += output + max(1, lengths.prompt() // 8)
        now_s += chance.expovariate(1 / _THINK_S)


def _length(chance: random.Random, mean: float) -> int:
    """Log-normal with that mean, at least 1 and at most fifty times it."""
    return max(1, min(int(50 * mean), round(chance.lognormvariate(math.log(mean) - _SIGMA**2 / 2, _SIGMA))))


def _rates(recipe: Recipe) -> tuple[Callable[[float], float] | None, float]:
    """(rate at a time over the mean rate, None where it never changes; the largest there is)."""
    if recipe.shape:
        shape: Shape = read_shape(Path(recipe.shape))
        return lambda now_s: shape.at(now_s / recipe.seconds), shape.most
    if recipe.swing:
        return lambda now_s: _swung(recipe, now_s), 1 + recipe.swing
    return None, 1.0


class _Lengths:
    """Draws tokens of prompts and outputs; from a trace the output is that of the prompt drawn last."""

    def __init__(self, recipe: Recipe, chance: random.Random) -> None:
        self._recipe = recipe
        self._chance = chance
        self._pairs: Sequence[tuple[int, int]] = ()
        self._output = 1
        if recipe.lengths:
            given = read_trace(Path(recipe.lengths))
            self._pairs = list(zip(given.prompt_tokens, given.output_tokens, strict=True))

    def prompt(self) -> int:
        if not self._pairs:
            return _length(self._chance, self._recipe.prompt)
        prompt, self._output = self._chance.choice(self._pairs)
        return prompt

    def output(self) -> int:
        return self._output if self._pairs else _length(self._chance, self._recipe.output)


class _Adapters:
    """Draws who wants which, apart from the rest of chance: without adapters a stream is what it was."""

    def __init__(self, recipe: Recipe) -> None:
        self._chance = random.Random(int(recipe.seed) + 2)
        self._names = [f"adapter-{rank}" for rank in range(1, int(recipe.adapters) + 1)]
        self._sums = list(itertools.accumulate(rank**-recipe.zipf for rank in range(1, len(self._names) + 1)))

    def draw(self) -> str:
        """A name, "" where there are none."""
        return self._chance.choices(self._names, cum_weights=self._sums)[0] if self._names else ""


def _swung(recipe: Recipe, now_s: float) -> float:
    return 1 + recipe.swing * math.sin(2 * math.pi * now_s / recipe.seconds - math.pi / 2)


def _words(recipe: Recipe) -> str:
    numbers = [name for name in recipe.__struct_fields__ if name not in _FILES]
    if recipe.lengths:
        numbers = [name for name in numbers if name not in ("prompt", "output")]
    files = [f"{name} of {Path(getattr(recipe, name)).name}" for name in _FILES if getattr(recipe, name)]
    return ", ".join([*(f"{name}={getattr(recipe, name):g}" for name in numbers), *files])


def _wrong(words: str) -> UsageError:
    return UsageError(f"--trace {PREFIX}: {words}", hint="roadbed twin serve --trace synthetic:rate=5", field="trace")
