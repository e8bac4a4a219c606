"""The stand-in against a real vLLM run (RTX PRO 6000, Llama 3.1 8B), and the reader of such runs."""

import json
from pathlib import Path

import pytest

from roadbed.errors import SpecError
from roadbed.profiles.profile import load
from roadbed.twin.serve_engine import Limits
from roadbed.twin.serve_fidelity import compare, read_measured, read_started, replay

DATA = Path(__file__).parents[1] / "data"
ROW = {"input_toks": 10, "output_toks": 3, "arrival_time": 100.0, "queued_ts": 5.0, "first_token_ts": 6.0,
       "last_token_ts": 8.0}  # fmt: skip


def written(tmp_path: Path, *rows: dict[str, object]) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_real_run_is_met() -> None:
    requests = read_measured(DATA / "vllm_llama_requests.jsonl")
    assert len(requests) == 300
    limits = Limits(kv_blocks=34_000, block_tokens=16, max_batched_tokens=2048, max_seqs=128)
    works = replay(requests, load("rtxpro6000-llama-3.1-8b").variant(1).step, limits)
    errors = {one.name: one.error for one in compare(requests, works)}
    assert abs(errors["ttft mean"]) <= 0.05
    assert abs(errors["ttft p99"]) <= 0.15
    assert abs(errors["tpot mean"]) <= 0.02
    assert abs(errors["e2e mean"]) <= 0.03


def test_another_machine_is_not() -> None:
    requests = read_measured(DATA / "vllm_llama_requests.jsonl")
    limits = Limits(kv_blocks=34_000, block_tokens=16, max_batched_tokens=2048, max_seqs=128)
    works = replay(requests, load("h200-llama-3.1-8b-fp8").variant().step, limits)
    errors = {one.name: one.error for one in compare(requests, works)}
    assert errors["tpot mean"] < -0.2


def test_clocks_are_aligned(tmp_path: Path) -> None:
    later = {**ROW, "arrival_time": 101.0, "queued_ts": 6.5, "first_token_ts": 7.0, "last_token_ts": 9.0}
    first, second = read_measured(written(tmp_path, later, ROW))
    assert (first.arrival_s, first.ttft_s, first.end_s, first.tpot_s) == (0.0, 1.0, 3.0, 1.0)
    assert (second.arrival_s, second.ttft_s) == (1.0, pytest.approx(1.0))  # queued half a second late


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first_token_ts": 4.0}, "backwards"),
        ({"last_token_ts": 5.5}, "backwards"),
        ({"input_toks": 0}, "below 1"),
        ({"arrival_time": None}, "empty"),
    ],
)
def test_rows_that_make_no_sense(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=rf":2: .*{words}"):
        read_measured(written(tmp_path, ROW, {**ROW, **changes}))


def test_nothing_measured(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no requests"):
        read_measured(written(tmp_path))


def test_how_it_was_started(tmp_path: Path) -> None:
    path = written(tmp_path, ROW)
    assert read_started(path).max_num_seqs is None
    (tmp_path / "meta.json").write_text('{"engine_kwargs": {"max_num_seqs": 64, "tensor_parallel_size": 2, "x": 1}}')
    assert (read_started(path).max_num_seqs, read_started(path).tensor_parallel_size) == (64, 2)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(SpecError, match=r"meta\.json"):
        read_started(path)


def test_one_token_has_no_pace(tmp_path: Path) -> None:
    requests = read_measured(written(tmp_path, {**ROW, "output_toks": 1}))
    works = replay(requests, load("rtxpro6000-llama-3.1-8b").variant(1).step, Limits(kv_blocks=9, block_tokens=16))
    assert [one.name for one in compare(requests, works)][:3] == ["ttft mean", "ttft p50", "ttft p99"]
    assert not any(one.name.startswith("tpot") for one in compare(requests, works))


def test_data_parallel_ranks_share_the_load() -> None:
    requests = read_measured(DATA / "vllm_llama_requests.jsonl")
    step, limits = load("rtxpro6000-llama-3.1-8b").variant(1).step, Limits(kv_blocks=34_000, block_tokens=16)
    one, two = (replay(requests, step, limits, ranks) for ranks in (1, 2))
    assert all(work.end_s > work.arrived_s for work in two)
    pace = [sum((work.end_s - work.first_s) for work in works) for works in (one, two)]
    assert 0.4 < pace[1] / pace[0] < 0.8
