"""What `roadbed twin serve --split` does: the same runs with prefill and decode on servers of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from roadbed.cli.base import Duration, print_table
from roadbed.cli.twin_base import Names
from roadbed.errors import UsageError
from roadbed.profiles.analytic import SHAPES
from roadbed.profiles.profile import Profile
from roadbed.spec.quantity import parse_bytes
from roadbed.twin.serve_figures import Row
from roadbed.twin.serve_plan import Run
from roadbed.twin.serve_split import Split

TOGETHER = "colocated"
_LEARNING = ("adaptive", "llumnix")
_HINT = "roadbed twin serve --split colocated,2:6,adaptive"


class Rate(click.ParamType[float]):
    """`50GB/s`, `400Gbps` → bytes per second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            if text.lower().endswith("bps"):
                found = parse_bytes(text[:-3] + "B") / 8
            else:
                found = float(parse_bytes(text.removesuffix("/s")))
        except ValueError:
            found = 0.0
        if not found > 0.0:
            self.fail(f"{text!r} is no rate above 0, such as 50GB/s or 400Gbps", param, ctx)
        return found


SPLIT_OPTIONS = (
    click.option("--split", "splits", type=Names(),
                 help="Prefill and decode apart: servers of each (2:6), adaptive, llumnix; colocated beside them."),
    click.option("--kv-link", type=Rate(), default="50GB/s", show_default=True,
                 help="A server's NIC, each way: KV caches travel through it."),
    click.option("--kv-bytes", type=click.IntRange(1, 1 << 30), help="KV bytes of a token. Default: the model's."),
    click.option("--role-change", type=Duration(), default="0s", show_default=True,
                 help="Until a server that is done with one role takes work in the other."),
    click.option("--first-token", type=click.Choice(["decode", "prefill"]), default="decode", show_default=True,
                 help="Which server gives it: decode as in vLLM's proxy protocol."),
)  # fmt: skip


def divided(given: Mapping[str, Any], runs: Sequence[Run], sized: bool, profiles: Mapping[str, Profile]) -> list[Run]:
    """The runs, each once for every --split. sized: --replicas was given. UsageError naming what makes no sense."""
    splits: tuple[str, ...] | None = given["splits"]
    if not splits:
        return list(runs)
    if any(run.fleet or run.scaling is not None for run in runs):
        raise UsageError(
            "--split divides a fixed fleet of one kind: neither --fleet nor --autoscale go with it",
            hint=f"roadbed twin serve --split {splits[0]} --profile {given['profile'] or 'NAME'}", field="split",
        )  # fmt: skip
    ratios = {text: _ratio(text) for text in splits if text not in (TOGETHER, *_LEARNING)}
    most = max((sum(ratio) for ratio in ratios.values()), default=0)
    found: list[Run] = []
    for run in runs:
        for text in splits:
            num = sum(ratios[text]) if text in ratios else run.replicas if sized or not most else most
            if text in ratios and sized and num != run.replicas:
                raise UsageError(
                    f"--split {text} are {num} servers, and --replicas says {run.replicas}",
                    hint=f"roadbed twin serve --split {text}", field="split",
                )  # fmt: skip
            base = f"{run.base} {text}"
            split = None if text == TOGETHER else _split(text, ratios.get(text), num, given, profiles[run.profile])
            one = msgspec.structs.replace(run, split=split, replicas=num, base=base)
            if one not in found:
                found.append(one)
    return found


def _ratio(text: str) -> tuple[int, int]:
    prefill, colon, decode = text.partition(":")
    if not (colon and prefill.isascii() and prefill.isdigit() and decode.isascii() and decode.isdigit()):
        known = ", ".join((TOGETHER, *_LEARNING))
        raise UsageError(f"--split {text!r} is neither PREFILL:DECODE nor {known}", hint=_HINT, field="split")
    ratio = int(prefill[:6]), int(decode[:6])
    if min(ratio) < 1:
        raise UsageError(f"--split {text}: each role needs at least one server", hint=_HINT, field="split")
    return ratio


def _split(text: str, ratio: tuple[int, int] | None, num: int, given: Mapping[str, Any], profile: Profile) -> Split:
    if num < 2:
        raise UsageError(f"--split {text} needs two servers at least, not {num}", hint=_HINT, field="replicas")
    kv_bytes = given["kv_bytes"] or 0
    if not kv_bytes:
        shape = SHAPES.get(profile.model)
        if shape is None:
            raise UsageError(
                f"how large is a token's KV cache in {profile.model}? nobody told",
                hint="roadbed twin serve --kv-bytes 131072", field="kv-bytes",
            )  # fmt: skip
        kv_bytes = shape.kv_bytes_per_token()
    return Split(
        policy=text if ratio is None else "static", num_prefill=ratio[0] if ratio else num // 2,
        link_bytes_s=given["kv_link"], kv_bytes=kv_bytes, role_change_s=given["role_change"],
        first_token=given["first_token"],
    )  # fmt: skip


def show_split(rows: Sequence[Row]) -> None:
    """A table of what only divided fleets have; nothing for none."""
    if not rows:
        return
    headers = ["ROUTER", "SPLIT", "SPEED", "ROLE CHANGES", "MOVED GB", "TRANSFER MEAN", "P99"]
    lines = []
    for row in rows:
        moved, transfer = (row.kv_moved_bytes or 0) / 1e9, row.transfer_s
        times = ("–", "–") if transfer is None else (f"{transfer.mean * 1e3:.1f}", f"{transfer.p99 * 1e3:.1f}")
        lines.append([row.router, row.split or "", f"{row.speedup:g}", str(row.role_changes), f"{moved:,.1f}", *times])
    print_table(headers, lines, right=range(2, len(headers)))
