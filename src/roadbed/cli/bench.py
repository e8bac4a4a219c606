"""`roadbed bench`: what a service does under load: percentiles, tokens per second, goodput under an SLO."""

import asyncio
import random
import sys
import time
from typing import Any

import click

from roadbed.cli.access import choose_model, open_gateway
from roadbed.cli.base import (
    HEARTBEAT_S,
    INTERRUPTED,
    Duration,
    dim,
    json_option,
    plural,
    print_json,
    print_table,
    talk,
)
from roadbed.cli.load import Load, run
from roadbed.cli.loadreport import PERCENTILES, report
from roadbed.errors import EngineError, UsageError

TARGETS = ("ttft", "tpot", "e2e")


class SloType(click.ParamType[dict[str, float]]):
    """`ttft=2s,tpot=50ms` → seconds by target."""

    name = "slo"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        targets: dict[str, float] = {}
        for part in str(value).split(","):
            name, equals, text = part.strip().partition("=")
            if name not in TARGETS or not equals:
                self.fail(f"{part!r} is not one of {', '.join(f'{target}=2s' for target in TARGETS)}", param, ctx)
            targets[name] = Duration().convert(text, param, ctx)
        return targets


class LazyBench(click.Group):
    """Measures a service by itself; `profile` is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["profile"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "profile":
            return None
        from roadbed.cli.bench_profile import command as profile

        return profile


@click.command("bench", cls=LazyBench, invoke_without_command=True)
@click.option("-m", "--model", help="A model or service; default: the first that is served.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Open loop: Poisson arrivals per second.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Closed loop: requests at once.")
@click.option("--requests", "num_requests", type=click.IntRange(1), help="How many. Default: 32.")
@click.option("--duration", type=Duration(), help="For how long, such as 60s, instead of --requests.")
@click.option("--prompt-tokens", default=64, show_default=True, type=click.IntRange(1), help="About how many.")
@click.option("--output-tokens", default=32, show_default=True, type=click.IntRange(1), help="Exactly how many.")
@click.option("--stop-at-eos", is_flag=True, help="Let answers end by themselves; then output tokens are a ceiling.")
@click.option("--slo", type=SloType(), default={}, help="Targets, such as ttft=2s,tpot=50ms,e2e=10s.")
@click.option("--seed", type=int, help="Same seed, same arrivals and prompts. Default: a new one, so no cache helps.")
@json_option
def command(
    model: str | None,
    rate: float | None,
    concurrency: int | None,
    num_requests: int | None,
    duration: float | None,
    prompt_tokens: int,
    output_tokens: int,
    stop_at_eos: bool,
    slo: dict[str, float],
    seed: int | None,
    as_json: bool,
) -> None:
    """Measure a service with streamed requests of random words; `profile` measures its engine for the twin.

    \b
      roadbed bench --rate 2 --duration 60s --slo ttft=2s,tpot=50ms
      roadbed bench --concurrency 8 --requests 100 --json

    With --rate a slow server still gets its arrivals on time (open loop), as users would do it.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if rate is not None and concurrency is not None:
        raise UsageError("--rate and --concurrency exclude each other: open loop or closed loop")
    if rate is None and concurrency is None:
        rate = 2.0
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    gateway = open_gateway()
    load = Load(
        url=gateway.url,
        key=gateway.key,
        model=choose_model(gateway, model),
        num_requests=32 if num_requests is None and duration is None else num_requests,
        duration_s=duration,
        rate=rate,
        concurrency=concurrency,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        seed=seed,
        ignore_eos=not stop_at_eos,
    )
    begun = time.monotonic()
    interrupted = False
    try:
        asyncio.run(_watched(load))
    except KeyboardInterrupt:
        interrupted = True
    facts = {"model": load.model, "rate": rate, "concurrency": concurrency, "seed": seed}
    facts |= report(load.samples, time.monotonic() - begun, slo)
    print_json(facts) if as_json else show(facts)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)
    if load.samples and not facts["num_ok"]:
        raise EngineError(f"all {plural(len(load.samples), 'request')} failed: {facts['errors']}", hint="roadbed ps")


async def _watched(load: Load) -> None:
    watching = asyncio.create_task(_progress(load))
    try:
        await run(load)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _progress(load: Load) -> None:
    """A line that is rewritten on a terminal, a new one every ten seconds otherwise."""
    terminal = sys.stderr.isatty()
    total = "" if load.num_requests is None else f"/{load.num_requests}"
    while True:
        await asyncio.sleep(0.2 if terminal else HEARTBEAT_S)
        num_wrong = sum(bool(sample.error) for sample in load.samples)
        line = f"sent {load.num_sent}{total}, answered {len(load.samples) - num_wrong}, failed {num_wrong}"
        click.echo(f"\r{line}\x1b[K" if terminal else line, err=True, nl=not terminal)


def show(facts: dict[str, Any]) -> None:
    """Tables for people."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    if not facts["num_requests"]:
        talk("nothing was finished")
        return
    columns = ("mean", *(f"p{q}" for q in PERCENTILES), "max")
    named = (("TTFT", "ttft_s"), ("TPOT", "tpot_s"), ("whole answer", "e2e_s"), ("client lag", "client_lag_s"))
    rows = [(title, *(_ms(facts[name][column]) for column in columns)) for title, name in named]
    print_table(("MS", *(column.upper() for column in columns)), rows, right=range(1, 6))
    click.echo("")
    click.echo(f"requests   {facts['num_ok']} of {facts['num_requests']} answered, {facts['requests_per_s']:.2f}/s")
    cached = f" ({facts['cached_tokens']} cached)" if facts["cached_tokens"] else ""
    click.echo(f"tokens     {facts['output_tokens_per_s']:.1f} out/s; {facts['prompt_tokens']} in{cached}, ", nl=False)
    click.echo(f"{facts['output_tokens']} out")
    if facts["slo"]:
        wanted = ", ".join(f"{name} ≤ {target:g} s" for name, target in facts["slo"].items())
        share = 100 * facts["slo_attainment"]
        click.echo(f"SLO        {share:.1f} % within {wanted}; goodput {facts['goodput_per_s']:.2f}/s")
    for title in ("replicas", "routes", "errors"):
        if facts[title]:
            text = ", ".join(f"{name} {count}" for name, count in sorted(facts[title].items()))
            click.echo(f"{title:<10} {click.style(text, fg='red') if title == 'errors' else text}")
    talk(dim(f"{facts['wall_s']:.1f} s, seed {facts['seed']}"))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.1f}"
