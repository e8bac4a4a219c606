"""Dynamo's own replay of a trace, its binary run beside ours: `pip install --no-deps ai-dynamo==1.2.1
ai-dynamo-runtime==1.2.1` and their dependencies, in an environment of its own."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

FIGURES = {
    "ttft_ms": "mean_ttft_ms", "ttft_p90_ms": "p90_ttft_ms", "ttft_p99_ms": "p99_ttft_ms", "tpot_ms": "mean_tpot_ms",
    "e2e_ms": "mean_e2e_latency_ms", "output_tokens_per_s": "output_throughput_tok_s",
    "reuse": "prefix_cache_reused_ratio", "wall_ms": "wall_time_ms",
}  # fmt: skip
"""Ours → its report's."""


def replay(
    python: str, tables: Path, trace: Path, *, workers: int, kv_blocks: int, speedup: float,
    router: dict[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Figures of one run; milliseconds where they say so, wall_ms of the replay alone. tables: the folder of step times
    (`dynamo-profiles/H200_TP1P_TP1D`). router: settings of its KV router, None = round robin."""
    engine = {
        "block_size": 512, "num_gpu_blocks": kv_blocks, "max_num_batched_tokens": 8192, "max_num_seqs": 256,
        "planner_profile_data": str(tables),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        argv = [
            python, "-m", "dynamo.replay", str(trace), "--num-workers", str(workers), "--replay-mode", "offline",
            "--router-mode", "round_robin" if router is None else "kv_router", "--trace-block-size", "512",
            "--arrival-speedup-ratio", str(speedup), "--report-json", str(report),
            "--extra-engine-args", json.dumps(engine),
        ]  # fmt: skip
        if router is not None:
            argv += ["--router-config", json.dumps(router)]
        subprocess.run(argv, check=True, capture_output=True, timeout=600, env={**os.environ, "DYN_LOG": "error"})
        told = json.loads(report.read_text())
    return {ours: round(told[theirs], 4) for ours, theirs in FIGURES.items() if theirs in told}
