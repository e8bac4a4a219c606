"""An engine is measured and the twin models it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e


def test_the_engine_is_profiled_and_the_twin_takes_the_profile(
    own_platform: Callable[..., Platform], tmp_path: Path
) -> None:
    platform = own_platform()
    out, trace = tmp_path / "p.json", tmp_path / "t.jsonl"
    said = json.loads(
        platform.run(
            "bench", "profile", "-m", "chat", "--accelerator", "cpu", "--max-prompt", "256", "--max-batch", "2",
            "--repeat", "1", "--kv-tokens", "8192", "--out", str(out), "--json",
        ).stdout
    )  # fmt: skip
    assert {row["sequences"] for row in said["points"]} == {0, 1, 2}
    assert all(row["measured_s"] > 0 for row in said["points"])
    rows = [{"arrival_s": at, "prompt_tokens": 200, "output_tokens": 8, "block_tokens": 64} for at in range(20)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    served = platform.run(
        "twin",
        "serve",
        "--trace",
        str(trace),
        "--replicas",
        "1",
        "--profile",
        str(out),
        "--router",
        "round_robin",
        "--json",
    )
    [row] = json.loads(served.stdout)["rows"]
    assert row["ttft_s"]["mean"] > 0
