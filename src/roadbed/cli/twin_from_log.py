"""`roadbed twin from-log`: what the gateways remember of their traffic, as a trace for the twin."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from roadbed.cli.base import Duration, human_time, json_option, print_json, print_table, talk
from roadbed.errors import UsageError
from roadbed.home import find_home
from roadbed.twin.from_log import Summary, chosen, read_log, summarise, trace_rows


@click.command("from-log")
@click.option("--log", "folder", type=click.Path(path_type=Path), help="Folder of the logs. Default: of this platform.")
@click.option("--service", help="Only this service's requests.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only the last so long, such as 24h.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the trace here (JSON lines).")
@json_option
def command(folder: Path | None, service: str | None, since: float | None, out: Path | None, as_json: bool) -> None:
    """Replay yesterday's traffic in the twin: export it, and see how good the router's predictions were.

    \b
      roadbed twin from-log --service chat --since 24h --out yesterday.jsonl
      roadbed twin serve --trace yesterday.jsonl --replicas 2 --profile P --router roadbed,round_robin

    The log holds hashes of prompts, never text; config.yaml's gateway.traffic_log says how much is kept.
    """
    seen, broken = read_log(folder or find_home().traffic)
    found = chosen(seen, service=service, since=0.0 if since is None else time.time() - since)
    rows = trace_rows(found)
    if out is not None:
        if not rows:
            raise UsageError("none of these requests ever ran: there is nothing to replay", field="out")
        try:
            out.write_text("".join(json.dumps(row) + "\n" for row in rows))
        except OSError as error:
            raise UsageError(f"{out} can't be written: {error.strerror}", field="out") from error
        talk(f"{len(rows):,} requests: {out}")
    summary = summarise(found, broken)
    if as_json:
        print_json(msgspec.to_builtins(summary))
        return
    _show(summary)


def _show(summary: Summary) -> None:
    begun = datetime.fromtimestamp(summary.begin, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [
        (
            "requests",
            f"{summary.requests:,} ({', '.join(f'{name} {num:,}' for name, num in summary.services.items())})",
        ),
        ("from", f"{begun}, {human_time(summary.span_s)}, {summary.requests_per_s:.2f}/s"),
        ("tokens", f"{summary.prompt_tokens_mean:,.0f} in, {summary.output_tokens_mean:,.0f} out on average"),
        (
            "prompt tokens cached",
            f"{summary.cached_share:.1%} (an endless cache: {summary.reusable_share:.1%} of blocks)",
        ),
        ("left out", f"{summary.left_out:,} that never ran"),
    ]
    one = summary.prediction
    if one is None:
        lines.append(("TTFT predicted", "no streamed request was predicted"))
    else:
        ratios = " / ".join(f"{ratio:.2f}" for ratio in (one.ratio_p10, one.ratio_p50, one.ratio_p90))
        lines += [
            ("TTFT predicted → measured", f"{human_time(one.mean_predicted_s)} → {human_time(one.mean_measured_s)} "
                                          f"on average of {one.requests:,}"),
            ("measured ÷ predicted", f"{ratios} (p10 / p50 / p90)"),
        ]  # fmt: skip
    print_table(["WHAT", "VALUE"], lines)
