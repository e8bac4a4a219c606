"""`roadbed bench profile`: measures an engine and writes the profile that the twin models it by."""

import asyncio
import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from roadbed.cli.access import choose_model, open_gateway
from roadbed.cli.base import human_time, json_option, print_json, print_table, progress, talk
from roadbed.cli.load import Load, Sample, run
from roadbed.errors import EngineError, UsageError
from roadbed.profiles.fit import weighted
from roadbed.profiles.model import Curve, StepModel, StepTimer, line
from roadbed.profiles.profile import Profile, Ranges, Variant, write

SHORTEST = 64
DECODED = 24
"""Output tokens of a decoding run: enough for a median, few enough that the context hardly grows."""


class Measured(msgspec.Struct, frozen=True):
    """Medians of one point. sequences 0: seconds to the first token of a prompt alone; else between tokens."""

    sequences: int
    tokens: float
    """Of the prompt, or of each sequence's context half way."""
    seconds: float


@click.command("profile")
@click.option("-m", "--model", help="A model or service; default: the first that is served.")
@click.option("--url", help="Another OpenAI-compatible endpoint than the platform's, without /v1.")
@click.option("--key", default="", help="Its API key.")
@click.option("--accelerator", required=True, help="What it runs on, such as RTX4090 or 2-core-cpu.")
@click.option("--max-prompt", type=click.IntRange(SHORTEST, 1 << 20), default=1024, show_default=True,
              help="Longest prompt to measure, in tokens.")  # fmt: skip
@click.option("--max-batch", type=click.IntRange(1, 4096), default=4, show_default=True, help="Most sequences at once.")
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each prompt length.")
@click.option("--kv-tokens", type=click.IntRange(1, 1 << 40), default=16_384, show_default=True,
              help="Tokens the engine's KV cache holds.")  # fmt: skip
@click.option("--batch-tokens", type=click.IntRange(0, 1 << 20), default=0,
              help="Most tokens the engine computes in one iteration (vLLM: max_num_batched_tokens; llama.cpp: n_batch,"
              " 128 as we start it). Default: not known, a prompt is taken for one iteration.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="File. Default: ACCELERATOR-MODEL.json.")
@json_option
def command(
    model: str | None,
    url: str | None,
    key: str,
    accelerator: str,
    max_prompt: int,
    max_batch: int,
    repeat: int,
    kv_tokens: int,
    batch_tokens: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure one engine: prompts of rising length alone, then rising numbers of sequences decoding together.

    \b
      roadbed bench profile -m chat --accelerator 2-core-cpu --max-prompt 1024 --max-batch 4 --batch-tokens 128
      roadbed bench profile --url http://gpu-7:8000 --key sk-… -m qwen2.5-7b --accelerator L20 --kv-tokens 400000
      roadbed twin serve --trace T --replicas 2 --profile 2-core-cpu-chat.json --max-batched-tokens 128

    Nothing else should use the engine meanwhile. A service of the platform must have one replica.
    """
    target = _target(model, url, key)
    points = list(_points(max_prompt, max_batch, repeat))
    measured: list[Measured] = []
    with progress("bench profile") as told:
        for at, (prompt, sequences, times) in enumerate(points):
            told(at, len(points), f"{sequences or 1} × {prompt} tokens")
            measured.append(asyncio.run(_measure(target, prompt, sequences, times)))
    step = fitted(measured, batch_tokens)
    name = _name(accelerator, target.model)
    path = out or Path(f"{name}.json")
    rows = [_row(StepTimer(step), one, batch_tokens) for one in measured]
    error = statistics.fmean(abs(row["error"]) for row in rows)
    longest = max(int(one.tokens) for one in measured)
    write(
        Profile(
            name=name, accelerator=accelerator, model=target.model, dtype="", licence="",
            source=f"measured {time.strftime('%Y-%m-%d', time.gmtime())} through {target.url}",
            fit=f"prefill and decode sweeps, least squares; mean error {error:.1%}",
            variants={"1": Variant(
                step=step, kv_tokens=kv_tokens, kv_source="as given",
                ranges=Ranges(chunk_tokens=longest, context_tokens=longest, sequences=max_batch),
            )},
        ),
        path,
    )  # fmt: skip
    talk(f"profile: {path}")
    if as_json:
        print_json({"profile": str(path), "mean_error": error, "points": rows})
        return
    print_table(
        ["WHAT", "SEQUENCES", "TOKENS", "MEASURED", "FITTED", "ERROR"],
        [
            ["first token" if row["sequences"] == 0 else "per token", row["sequences"] or 1, f"{row['tokens']:,.0f}",
             human_time(row["measured_s"]), human_time(row["fitted_s"]), f"{row['error']:+.0%}"]
            for row in rows
        ],
        right=(1, 2, 3, 4, 5),
    )  # fmt: skip


def _target(model: str | None, url: str | None, key: str) -> Load:
    """Where to send prompts: an endpoint of the user's, else the platform's gateway."""
    if url is None:
        gateway = open_gateway()
        return Load(gateway.url, gateway.key, choose_model(gateway, model), 1, None, None, 1, 1, 1, 0)
    if model is None:
        raise UsageError("--url needs --model: which of its models?", field="model")
    return Load(url.rstrip("/").removesuffix("/v1"), key, model, 1, None, None, 1, 1, 1, 0)


def _points(max_prompt: int, max_batch: int, repeat: int) -> Iterator[tuple[int, int, int]]:
    """(prompt tokens, sequences decoding or 0, repetitions)."""
    length = SHORTEST
    while length < max_prompt:
        yield length, 0, repeat
        length *= 2
    yield max_prompt, 0, repeat
    sequences = 1
    while True:
        for context in dict.fromkeys((SHORTEST, max(SHORTEST, max_prompt // 2))):
            yield context, sequences, 1
        if sequences >= max_batch:
            break
        sequences = min(2 * sequences, max_batch)


async def _measure(target: Load, prompt: int, sequences: int, times: int) -> Measured:
    """Medians over prompts nobody has sent before. EngineError when nothing is answered."""
    load = _load(target, prompt, sequences, times)
    await run(load)
    good = [sample for sample in load.samples if not sample.error]
    if not good:
        said = load.samples[0].error if load.samples else "nothing was sent"
        raise EngineError(f"no request of {prompt} tokens was answered: {said}", hint="roadbed ps", field="url")
    replicas = sorted({sample.replica for sample in good if sample.replica})
    if len(replicas) > 1:
        raise UsageError(
            f"{target.model} has {len(replicas)} replicas; a profile is that of one",
            hint=f"roadbed scale {target.model} 1",
            field="model",
        )
    return _median(good, prompt, sequences)


def _load(target: Load, prompt: int, sequences: int, times: int) -> Load:
    """The same endpoint with prompts of its own: `times` one after the other, or `sequences` at once."""
    return Load(
        url=target.url, key=target.key, model=target.model, num_requests=sequences or times, duration_s=None, rate=None,
        concurrency=sequences or 1, prompt_tokens=prompt, output_tokens=DECODED if sequences else 1,
        seed=random.SystemRandom().randrange(2**31),
    )  # fmt: skip


def _median(samples: Sequence[Sample], prompt: int, sequences: int) -> Measured:
    tokens = statistics.median(sample.prompt_tokens or prompt for sample in samples)
    if sequences == 0:
        return Measured(0, tokens, statistics.median(sample.ttft_s or sample.total_s for sample in samples))
    gaps = [sample.tpot_s for sample in samples if sample.tpot_s]
    if not gaps:
        raise EngineError(
            f"{sequences} requests were answered with one token each: nothing to time",
            hint="roadbed bench",
            field="url",
        )
    return Measured(sequences, tokens + DECODED / 2, statistics.median(gaps))


def chunks(tokens: float, batch_tokens: int) -> list[tuple[int, int]]:
    """(new tokens, cached before them) of the iterations a prompt alone takes; batch_tokens 0 = one."""
    whole = max(1, int(tokens))
    size = batch_tokens or whole
    return [(min(size, whole - done), done) for done in range(0, whole, size)]


def fitted(measured: Sequence[Measured], batch_tokens: int = 0) -> StepModel:
    """The model of these points, none below 0: TTFT = Σ chunks: (a + b · tokens + x · tokens · cached before them),
    ITL = c + d · sequences + e · cached tokens. What a and c have in common is paid once in an iteration that does
    both."""
    alone = [one for one in measured if one.sequences == 0]
    together = [one for one in measured if one.sequences]
    parts = [chunks(one.tokens, batch_tokens) for one in alone]
    columns = [
        np.array([float(len(part)) for part in parts]),
        np.array([one.tokens for one in alone]),
        np.array([float(sum(new * cached for new, cached in part)) for part in parts]),
    ]
    times = np.array([one.seconds for one in alone])
    per_chunk, slope, per_pair = (*weighted(columns[: 3 if batch_tokens else 2], times), 0.0)[:3]
    sequences = np.array([float(one.sequences) for one in together])
    cached = sequences * np.array([one.tokens for one in together])
    step, per_sequence, per_token = weighted(
        [np.ones_like(sequences), sequences, cached], np.array([one.seconds for one in together])
    )
    common = float(min(per_chunk, step))
    return StepModel(
        fixed_s=common,
        chunk=line(float(slope), float(per_chunk) - common),
        context=line(float(per_pair)),
        decode_base=line(float(per_sequence), float(step) - common),
        mixed_base=line(float(per_sequence)),
        decode_kv=Curve((0.0,), (float(per_token),)),
    )


def _row(timer: StepTimer, one: Measured, batch_tokens: int) -> dict[str, Any]:
    if one.sequences:
        base, per_kv = timer.decode(one.sequences)
        says = base + per_kv * one.sequences * one.tokens
    else:
        says = sum(timer.mixed([part], 1, 0, 0) for part in chunks(one.tokens, batch_tokens))
    return {
        "sequences": one.sequences, "tokens": one.tokens, "measured_s": one.seconds, "fitted_s": says,
        "error": says / one.seconds - 1,
    }  # fmt: skip


def _name(accelerator: str, model: str) -> str:
    """`<accelerator>-<model>`, as profiles are called."""
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.casefold()).strip("-") for part in (accelerator, model))
