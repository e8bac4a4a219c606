"""`roadbed twin validate`: measured requests replayed on the engine stand-in, and how far off it is."""

from pathlib import Path
from typing import Any

import click

from roadbed.cli.base import json_option, plural, print_json, print_table, talk
from roadbed.cli.twin_base import FILE
from roadbed.errors import UsageError
from roadbed.profiles.profile import load
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_fidelity import compare, read_measured, read_started, replay

_BLOCK_TOKENS = 16
_SEQS, _BATCHED = 128, 2048


@click.command("validate")
@click.option("--profile", required=True, help="Step-time profile: a shipped name or a file.")
@click.option("--measured", required=True, type=FILE, help="JSON lines of a real run; meta.json beside it is read.")
@click.option("--tp", type=click.IntRange(1, 64), help="Tensor-parallel degree. Default: meta.json's, the profile's.")
@click.option("--max-seqs", type=click.IntRange(1, 1 << 16), help=f"Default: meta.json's, else {_SEQS}.")
@click.option("--max-batched-tokens", type=click.IntRange(1, 1 << 20), help=f"Default: meta.json's, else {_BATCHED}.")
@click.option("--kv-blocks", type=click.IntRange(1, 1 << 30), help="Default: what the profile's KV cache holds.")
@click.option("--block-tokens", type=click.IntRange(1, 1 << 20), default=_BLOCK_TOKENS, show_default=True,
              help="Tokens of a KV block.")  # fmt: skip
@json_option
def command(profile: str, measured: Path, as_json: bool, **given: Any) -> None:
    """Replay a measured run on the modelled engine and print the errors, modelled ÷ measured − 1.

    \b
      roadbed twin validate --profile rtxpro6000-llama-3.1-8b --measured requests.jsonl

    A row needs input_toks, output_toks, arrival_time, first_token_ts and last_token_ts, and may have queued_ts.
    """
    loaded = load(profile)
    started = read_started(measured)
    requests = read_measured(measured)
    tp = given["tp"] or started.tensor_parallel_size or loaded.tp
    ranks = max(1, started.data_parallel_size or 1)
    variant = loaded.variant(tp)
    limits = Limits(
        kv_blocks=given["kv_blocks"] or max(1, variant.kv_tokens // given["block_tokens"]),
        block_tokens=given["block_tokens"], max_seqs=given["max_seqs"] or started.max_num_seqs or _SEQS,
        max_batched_tokens=given["max_batched_tokens"] or started.max_num_batched_tokens or _BATCHED,
    )  # fmt: skip
    try:
        works = replay(requests, variant.step, limits, ranks)
    except ValueError as error:
        raise UsageError(str(error), hint="roadbed twin validate --help") from error
    found = compare(requests, works)
    beyond = variant.ranges.beyond(
        chunk_tokens=min(limits.max_batched_tokens, max(one.prompt_tokens for one in requests)),
        context_tokens=max(one.prompt_tokens + one.output_tokens for one in requests), sequences=limits.max_seqs,
    )  # fmt: skip
    if beyond:
        talk(f"profile {loaded.name}: extrapolated where there is {', '.join(beyond)}")
    if as_json:
        rows = [
            {"name": one.name, "measured_s": one.measured_s, "modelled_s": one.modelled_s, "error": one.error}
            for one in found
        ]
        print_json({"profile": loaded.name, "tp": tp, "requests": len(requests), "extrapolated": beyond, "rows": rows})
        return
    lines = [[one.name, f"{one.measured_s:.4f}", f"{one.modelled_s:.4f}", f"{one.error:+.2%}"] for one in found]
    print_table(["FIGURE", "MEASURED S", "MODELLED S", "ERROR"], lines, right=range(1, 4))
    talk(
        f"{len(requests)} requests, tensor parallel {tp}, {plural(ranks, 'engine')}, at most {limits.max_seqs}"
        f" sequences and {limits.max_batched_tokens:,} tokens per iteration"
    )
