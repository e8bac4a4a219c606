"""`roadbed twin serve`: a trace of requests under several routers, by the router that runs in the gateway."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from roadbed.cli.base import Duration, dim, json_option, plural, print_json, print_table, talk
from roadbed.cli.twin_base import FILE, Names, Numbers, Ratio, Seeds, counted, write_report
from roadbed.cli.twin_serve_fleet import (
    FLEET_OPTIONS,
    dash,
    doubts_of,
    plain,
    planned,
    profiles_of,
    references,
    show_scaled,
)
from roadbed.cli.twin_serve_split import SPLIT_OPTIONS, divided, show_split
from roadbed.profiles.profile import Profile
from roadbed.router.policies import POLICIES, create
from roadbed.twin.parallel import run_all
from roadbed.twin.serve import Settings
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_fleet import Group
from roadbed.twin.serve_plan import Asked, base_of, one, warnings, what_ifs
from roadbed.twin.serve_read import read_trace
from roadbed.twin.serve_synthetic import PREFIX, generate, parse
from roadbed.twin.serve_trace import Trace


class Slo(click.ParamType[dict[str, float]]):
    """`ttft=2s,itl=25ms` → seconds by name."""

    name = "slo"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        found: dict[str, float] = {}
        for part in str(value).split(","):
            name, equals, limit = (piece.strip() for piece in part.partition("="))
            if name not in ("ttft", "itl") or not equals or name in found:
                self.fail(f"{part.strip()!r} is not ttft=… or itl=…, each once, such as ttft=2s,itl=25ms", param, ctx)
            found[name] = Duration().convert(limit, param, ctx)
            if not found[name] > 0:
                self.fail(f"{name} must be above 0", param, ctx)
        return found


_OPTIONS = (
    click.option("--trace", required=True, help="Mooncake, Bailian, Azure, BurstGPT, ShareGPT, or synthetic:rate=5,…"),
    click.option("--profile", help="Step-time profile: a shipped name, a file, or CHIP-MODEL[-DTYPE]."),
    click.option("--replicas", type=Seeds(), default="4", show_default=True, help="Such as 4, or 2..6."),
    click.option("--router", "routers", type=Names(), default="roadbed,round_robin", show_default=True,
                 help="Policies; +gate puts one behind the gateway's admission, +open takes it away."),
    click.option("--speedup", type=Numbers(), default="1", show_default=True, help="Arrivals so many times as fast."),
    click.option("--slo", type=Slo(), default="ttft=2s,itl=25ms", show_default=True, help="What counts as good."),
    click.option("--kv-blocks", type=click.IntRange(1, 1 << 30), help="KV cache of a replica. Default: the profile's."),
    click.option("--block-tokens", type=click.IntRange(1, 1 << 20), help="Tokens of a block. Default: the trace's."),
    click.option("--max-batched-tokens", type=click.IntRange(1, 1 << 20), default=8192, show_default=True,
                 help="Tokens of an iteration."),
    click.option("--max-seqs", type=click.IntRange(1, 1 << 16), default=256, show_default=True,
                 help="Requests a replica runs at once."),
    click.option("--max-adapters", type=click.IntRange(1, 10_000), default=4, show_default=True,
                 help="Adapters (LoRA) of the trace that a replica has loaded at once."),
    click.option("--adapter-load", type=Duration(), default="500ms", show_default=True, help="What loading one takes."),
    click.option("--tp", type=click.IntRange(1, 64), help="Tensor-parallel degree. Default: the profile's."),
    click.option("--requests", type=click.IntRange(1), help="Take the first so many."),
    click.option("--rate", type=Ratio(1e-6, 1e6), default=1.0, help="Conversations/s where a trace has no times."),
    click.option("--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="Of ties and arrivals."),
    click.option("--max-queue", type=click.IntRange(0, 1 << 24), default=512, show_default=True,
                 help="Requests the gateway holds."),
    click.option("--max-wait", type=Duration(), default="30s", show_default=True, help="And for how long."),
    click.option("--retries", type=click.IntRange(0, 100), default=0, show_default=True,
                 help="Times a shed client comes back after its retry-after."),
    click.option("--cost", type=Ratio(0, 1e6), default=0.0, help="CNY per replica and hour."),
    click.option("--swap", help="What if the replicas were of this profile?"),
    click.option("--swap-cost", type=Ratio(0, 1e6), default=0.0, help="CNY per hour of one of those."),
    click.option("--workers", type=click.IntRange(0, 1024), default=0, help="Processes. Default: one per core."),
    click.option("--report", type=FILE, help="Write an HTML report with plots and what-ifs here."),
)  # fmt: skip


def _options(command: Any) -> Any:
    for option in reversed((*_OPTIONS, *FLEET_OPTIONS, *SPLIT_OPTIONS)):
        command = option(command)
    return command


@click.command("serve")
@_options
@json_option
def command(trace: str, as_json: bool, **given: Any) -> None:
    """Replay requests on modelled engines behind the router the gateway runs: latency, goodput, reuse, cost.

    \b
      roadbed twin serve --trace mooncake.jsonl --replicas 4 --profile h200-llama-3.1-8b-fp8 \\
        --router roadbed,round_robin --speedup 2 --slo ttft=2s,itl=25ms
      roadbed twin serve --trace synthetic:rate=8,turns=4 --profile l40s-qwen3-8b --replicas 2..4 --report serve.html
      roadbed twin serve --trace azure.csv --fleet h200-llama-3.1-8b-fp8:2@20,rtxpro6000-llama-3.1-8b:3@6
      roadbed twin serve --trace azure.csv --profile rtxpro6000-llama-3.1-8b --router roadbed \\
        --autoscale roadbed,hpa,kpa,apa --min 0 --max 16 --target 12 --cold-start 90s
      roadbed twin serve --trace mooncake.jsonl --profile h200-llama-3.1-8b-fp8 --replicas 8 \\
        --split colocated,6:2,adaptive --kv-link 50GB/s

    Baselines are run as published: requests go to engines at once. `roadbed` also admits and orders what waits.
    """
    for router in given["routers"]:
        create(base_of(router))
    sized = click.get_current_context().get_parameter_source("replicas") is not ParameterSource.DEFAULT
    runs = planned(given, sized)
    requests = _trace(trace, given)
    swap = Group(profile=given["swap"], num=1, cost_per_hour=given["swap_cost"]) if given["swap"] else None
    profiles = profiles_of(given, runs)
    runs = divided(given, runs, sized, profiles)
    asked = Asked(
        kv_blocks=given["kv_blocks"] or 0, block_tokens=given["block_tokens"] or 0,
        max_batched_tokens=given["max_batched_tokens"], max_seqs=given["max_seqs"], tp=given["tp"] or 0,
        max_adapters=given["max_adapters"], adapter_load_s=given["adapter_load"],
    )  # fmt: skip
    slo = given["slo"]
    settings = Settings(
        slo_ttft_s=slo.get("ttft"), slo_itl_s=slo.get("itl"), max_queue=given["max_queue"],
        max_wait_s=given["max_wait"], retries=given["retries"],
    )  # fmt: skip
    used = {group.profile: profiles[group.profile] for run in runs for group in run.groups}
    for words in dict.fromkeys(
        words for profile in used.values() for words in warnings(requests, profile, asked, settings)
    ):
        talk(words)
    for words in doubts_of(runs, profiles, settings):
        talk(words)
    extra = what_ifs(runs, swap) if given["report"] is not None or swap else []
    shared = {"trace": requests, "profiles": profiles, "asked": asked, "settings": settings}
    with counted("twin serve") as told:
        rows = run_all(one, shared, [*runs, *extra], num_workers=given["workers"], told=told)
    main, others = rows[: len(runs)], rows[len(runs) :]
    if given["autoscalers"] and given["fixed"]:
        main += references(shared, runs, main, given["workers"])
    facts = _facts(requests, used, asked, slo)
    if given["report"] is not None:
        from roadbed.twin.serve_report import report

        write_report(given["report"], report(main, others, facts))
    if as_json:
        print_json({"rows": [plain(found) for found in main], "what_if": [plain(found) for found in others]})
        return
    _show([*(row for row in main if row.autoscaler is None), *(row for row in others if row.autoscaler is None)])
    show_split([row for row in main if row.split is not None])
    show_scaled([row for row in (*main, *others) if row.autoscaler is not None])
    for fact in facts:
        talk(dim(fact))


def _trace(name: str, given: dict[str, Any]) -> Trace:
    if name.startswith(PREFIX):
        found = generate(parse(name))
    else:
        found = read_trace(Path(name), rate=given["rate"], seed=given["seed"])
    return found.taken(given["requests"]) if given["requests"] else found


def _facts(trace: Trace, profiles: dict[str, Profile], asked: Asked, slo: dict[str, float]) -> list[str]:
    made = "made up, not recorded; " if trace.synthetic else ""
    lasts_s = trace.arrival_s[-1] if len(trace) else 0.0
    promised = ", ".join(f"{name} {limit:g} s" for name, limit in slo.items())
    engines = []
    for profile in profiles.values():
        kind = "measured" if profile.measured else "guessed from data sheets"
        engines.append(
            f"Engine: {profile.name} ({kind}; {profile.source}), tensor parallel {asked.tp or profile.tp},"
            f" at most {asked.max_batched_tokens:,} tokens and {asked.max_seqs} sequences per iteration."
        )
    return [
        f"{trace.name}: {made}{plural(len(trace), 'request')} over {lasts_s:.0f} s,"
        f" {sum(trace.prompt_tokens):,} prompt and {sum(trace.output_tokens):,} output tokens.",
        *engines,
        f"Good: {promised}. ITL is a request's mean. Routers known: {', '.join(POLICIES)}.",
    ]


def _show(rows: list[Row]) -> None:
    if not rows:
        return
    headers = ["ROUTER", "REPLICAS", "SPEED", "TTFT MEAN", "P50", "P90", "P99", "ITL MEAN", "P99", "E2E", "GOOD",
               "TOK/S", "REUSE", "SHED"]  # fmt: skip
    priced = any(found.cny_per_hour is not None for found in rows)
    if priced:
        headers += ["CNY/H", "CNY/M TOK"]
    lines = []
    for found in rows:
        ttft, itl = found.ttft_s, found.itl_s
        name = " ".join(word for word in (found.router, found.split, found.change) if word)
        line = [
            name, found.fleet or str(found.replicas),
            f"{found.speedup:g}", *(f"{value * 1e3:,.0f}" for value in (ttft.mean, ttft.p50, ttft.p90, ttft.p99)),
            f"{itl.mean * 1e3:.1f}", f"{itl.p99 * 1e3:.1f}", f"{found.e2e_s.mean * 1e3:,.0f}",
            f"{found.goodput_share:.1%}", f"{found.output_tokens_per_s:,.0f}", f"{found.reuse:.1%}", str(found.shed),
        ]  # fmt: skip
        if priced:
            line += [dash(found.cny_per_hour, ",.0f"), dash(found.cny_per_million_tokens, ",.2f")]
        lines.append(line)
    print_table(headers, lines, right=range(2, len(headers)))
    talk(dim("times in milliseconds"))
