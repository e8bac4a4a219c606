"""Makes the shipped profiles from measured tables: `python -m scripts.fit_profiles DATA [NAME …]`.

DATA holds `engine/dynamo-profiles`, `engine/kernel-profiles` and `engine/vllm-measured` (see the profiles' `source`).
What no table holds is fitted to measured runs of the same machine by Gauss-Newton on the errors of every request's TTFT
and TPOT: the host's time per iteration (to the run on one device) and, with it, latency and bandwidth of an all-reduce
(to the run on two).
"""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from roadbed.profiles.analytic import SHAPES, Shape, kv_tokens
from roadbed.profiles.fit import AttentionRow, from_kernels, from_sweeps
from roadbed.profiles.model import StepModel, line
from roadbed.profiles.profile import Profile, Ranges, Variant, write
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_fidelity import Measured, read_measured, replay

OUT = Path(__file__).parents[1] / "src/roadbed/profiles/data"
DYNAMO = "ai-dynamo 1.2.1 wheel, planner profiling results, vLLM {version}, measured on {chip} ({licence})"
KERNELS = "casys-kaist/LLMServingSim kernel profiles, vLLM 0.19.0, {chip}; host and link times from its measured runs"
GIB = 1 << 30
BYTES = 2
MEASURED_LIMITS = Limits(kv_blocks=1 << 16, block_tokens=16, max_batched_tokens=2048, max_seqs=128)

Tables = dict[str, dict[int, float]]


def sweep_profile(data: Path, name: str, chip: str, model: str, folder: str, tp: int) -> Profile:
    """End-to-end sweeps of the dynamo planner: one row per tensor-parallel degree."""
    decode = np.load(data / "engine/dynamo-profiles" / folder / "decode.npz")
    prefill = np.load(data / "engine/dynamo-profiles" / folder / "prefill.npz")
    variants = {}
    for at, degree in enumerate(decode["tp"][:, 0].tolist()):
        capacity = int(decode["max_kv_tokens"][at, 0])
        context, itl = decode["y_context_length"][at], decode["z_itl"][at] / 1e3
        isl, ttft = prefill["prefill_isl"][at].astype(float), prefill["prefill_ttft"][at] / 1e3
        kept = np.ones(len(isl), bool)
        for middle in range(1, len(isl) - 1):  # a point far above both neighbours is a disturbed measurement
            kept[middle] = ttft[middle] < 1.3 * max(ttft[middle - 1], ttft[middle + 1])
        step = from_sweeps(isl[kept], ttft[kept], decode["x_kv_usage"][at], context, itl, capacity)
        seqs = decode["x_kv_usage"][at] * capacity / context
        variants[str(degree)] = Variant(
            step=rounded(step), kv_tokens=capacity, kv_source="reported by the engine that was measured",
            ranges=Ranges(chunk_tokens=int(isl.max()), context_tokens=int(context.max()), sequences=int(seqs.max())),
        )  # fmt: skip
    return Profile(
        name=name, accelerator=chip, model=model, dtype="fp8", licence="Apache-2.0", tp=tp,
        source=DYNAMO.format(version=decode["framework_version"][0, 0], chip=chip, licence="Apache-2.0"),
        fit="straight lines by least squares: TTFT over prompt tokens; ITL over sequences and cached tokens",
        variants=variants,
    )  # fmt: skip


def kernel_tables(folder: Path) -> tuple[list[AttentionRow], Tables]:
    """(attention rows, tables by layer) of one model and degree."""
    columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
    with (folder / "attention.csv").open() as file:
        rows = [(*(int(row[name]) for name in columns), float(row["time_us"])) for row in csv.DictReader(file)]
    tables: Tables = {}
    for name in ("dense", "per_sequence"):
        with (folder / f"{name}.csv").open() as file:
            for row in csv.reader(file):
                if row[0] != "layer":
                    tables.setdefault(row[0], {})[int(row[1])] = float(row[2])
    return rows, tables  # type: ignore[return-value]


def experts_table(path: Path, shape: Shape, tokens: Sequence[int], tp: int) -> dict[int, float]:
    """Microseconds of a layer's experts by tokens: the measured (tokens, experts woken) grid at the number of experts
    that so many tokens wake on average. On two devices each holds half of the experts and sees half of the pairs."""
    with path.open() as file:
        grid = {(int(a), int(b)): float(c) for a, b, c in list(csv.reader(file))[1:]}
    sizes = sorted({size for size, _ in grid})
    found = {}
    for count in tokens:
        woken = shape.num_experts * (1 - (1 - shape.experts_per_token / shape.num_experts) ** count) / tp
        lines = []
        for size in sizes:
            marks = sorted(b for a, b in grid if a == size)
            lines.append(float(np.interp(woken, marks, [grid[size, mark] for mark in marks])))
        found[count] = float(np.interp(max(1.0, count / tp), sizes, lines))
    return found


def kernel_step(root: Path, shape: Shape, tp: int) -> StepModel:
    """One model and degree from its kernel tables, without host and link times."""
    attention, tables = kernel_tables(root / f"tp{tp}")
    outside = ("embedding", "final_layernorm", "lm_head", "sampler")
    per_layer = [(table, 2 if name == "layernorm" else 1) for name, table in tables.items() if name not in outside]
    if shape.num_experts:
        per_layer.append((experts_table(root / "tp1/moe.csv", shape, sorted(tables["qkv_proj"]), tp), 1))
    return from_kernels(
        num_layers=shape.num_layers, per_layer=per_layer, once=[tables["embedding"], tables["final_layernorm"]],
        head=[tables["lm_head"], tables["sampler"]], attention=attention,
    )  # fmt: skip


def gauss_newton(
    make: Callable[[np.ndarray], StepModel], start: Sequence[float], requests: Sequence[Measured], rounds: int = 5
) -> np.ndarray:
    """Parameters that make the replay's TTFT and TPOT closest to the measured ones, each over its measured mean."""

    def errors(values: np.ndarray) -> np.ndarray:
        works = replay(requests, make(values), MEASURED_LIMITS)
        ttft, tpot = np.array([one.ttft_s for one in requests]), np.array([one.tpot_s for one in requests])
        mine = np.array([work.first_s - work.arrived_s for work in works])
        pace = np.array([(work.end_s - work.first_s) / max(1, work.output_tokens - 1) for work in works])
        return np.concatenate([(mine - ttft) / ttft.mean(), (pace - tpot) / tpot.mean()])

    values = np.array(start, float)
    scale = values * 0.05
    best, least = values, np.inf
    for _ in range(rounds):
        now = errors(values)
        if (now**2).mean() < least:
            best, least = values, float((now**2).mean())
        slopes = np.column_stack([(errors(values + step) - now) / step.sum() for step in np.diag(scale)])
        values = np.maximum(0.0, values - np.linalg.lstsq(slopes * scale, now, rcond=None)[0] * scale)
    return best


def host_and_link(data: Path) -> tuple[float, float, float]:
    """(host seconds per iteration, seconds per all-reduce, bytes per second of one)."""
    kernels, runs = data / "engine/kernel-profiles/RTXPRO6000", data / "engine/vllm-measured/RTXPRO6000"
    one = kernel_step(kernels / "meta-llama/Llama-3.1-8B/bf16", SHAPES["llama-3.1-8b"], 1)
    alone = read_measured(runs / "Llama-3.1-8B/requests.jsonl")
    host = gauss_newton(lambda x: msgspec.structs.replace(one, fixed_s=float(x[0])), [8e-4], alone)
    shape = SHAPES["qwen3-32b"]
    two = kernel_step(kernels / "Qwen/Qwen3-32B/bf16", shape, 2)
    pair = read_measured(runs / "Qwen3-32B/requests.jsonl")
    both = gauss_newton(
        lambda x: with_link(two, shape, float(host[0]), float(x[0]), 1 / float(x[1])), [4e-5, 5e-11], pair
    )
    return float(host[0]), float(both[0]), 1 / float(both[1])


def with_link(step: StepModel, shape: Shape, host_s: float, latency_s: float, bytes_s: float) -> StepModel:
    """The model with host time and two all-reduces per layer."""
    times = 2 * shape.num_layers
    link = line(times * shape.hidden * BYTES / bytes_s, times * latency_s)
    return msgspec.structs.replace(step, fixed_s=host_s, collective=link)


def kernel_profile(
    data: Path, name: str, chip: str, model: str, folder: str, memory_bytes: int, tp: int,
    link: tuple[float, float, float],
) -> Profile:  # fmt: skip
    """All measured degrees of one model."""
    root, shape = data / "engine/kernel-profiles" / folder, SHAPES[model]
    host_s, latency_s, bytes_s = link
    variants = {}
    for degree in sorted(int(path.name[2:]) for path in root.glob("tp*")):
        step = kernel_step(root, shape, degree)
        step = with_link(step, shape, host_s, latency_s, bytes_s) if degree > 1 else replaced(step, host_s)
        variants[str(degree)] = Variant(
            step=rounded(step), kv_tokens=kv_tokens(shape, memory_bytes, "bf16", degree),
            kv_source="memory less weights", ranges=Ranges(chunk_tokens=2048, context_tokens=16384, sequences=256),
        )  # fmt: skip
    return Profile(
        name=name, accelerator=chip, model=model, dtype="bf16", licence="MIT", tp=tp,
        source=KERNELS.format(chip=chip),
        fit=f"kernel tables, relative least squares; host {host_s * 1e6:.0f} us per iteration, all-reduce"
        f" {latency_s * 1e6:.0f} us + bytes / {bytes_s / 1e9:.1f} GB/s fitted to measured runs",
        variants=variants,
    )  # fmt: skip


def replaced(step: StepModel, host_s: float) -> StepModel:
    return msgspec.structs.replace(step, fixed_s=host_s)


def rounded(step: StepModel) -> StepModel:
    """Six significant digits: files stay small, errors below what was measured."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        return [short(item) for item in value] if isinstance(value, list) else value

    plain = msgspec.to_builtins(step)
    plain = {
        name: {axis: short(list(points)) for axis, points in value.items()} if isinstance(value, dict) else short(value)
        for name, value in plain.items()
    }
    return msgspec.convert(plain, StepModel)


def main() -> None:
    data, wanted = Path(sys.argv[1]), set(sys.argv[2:])
    link = host_and_link(data)
    h200, h100 = "h200_sxm/vllm/nvidia/Llama-3.1-8B-Instruct-FP8", "h100_sxm/vllm/nvidia/Llama-3.3-70B-Instruct-FP8"
    pro, pro_gib = "RTX PRO 6000", 96 * GIB
    made = [
        sweep_profile(data, "h200-llama-3.1-8b-fp8", "H200", "llama-3.1-8b", f"pre_swept_results/{h200}", 1),
        sweep_profile(data, "h100-llama-3.3-70b-fp8", "H100", "llama-3.3-70b", f"pre_swept_results/{h100}", 4),
    ]
    for name, model, folder, tp in (
        ("rtxpro6000-llama-3.1-8b", "llama-3.1-8b", "meta-llama/Llama-3.1-8B", 1),
        ("rtxpro6000-qwen3-32b", "qwen3-32b", "Qwen/Qwen3-32B", 2),
        ("rtxpro6000-qwen3-30b-a3b", "qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B-Instruct-2507", 1),
    ):
        made.append(kernel_profile(data, name, pro, model, f"RTXPRO6000/{folder}/bf16", pro_gib, tp, link))
    made.append(
        kernel_profile(
            data, "rtx4090-llama-3.1-8b", "RTX 4090", "llama-3.1-8b", "RTX4090/meta-llama/Llama-3.1-8B/bf16",
            24 * GIB, 1, link,
        )
    )  # fmt: skip
    for profile in made:
        if not wanted or profile.name in wanted:
            write(profile, OUT / f"{profile.name}.json")
            print(profile.name, {degree: one.kv_tokens for degree, one in profile.variants.items()}, profile.fit)


if __name__ == "__main__":
    main()
