"""A profile held against a measured run, as a user does it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

DATA = Path(__file__).parents[1] / "data"
MEASURED = str(DATA / "vllm_llama_requests.jsonl")
ASKED = ("twin", "validate", "--profile", "rtxpro6000-llama-3.1-8b", "--measured", MEASURED)


def test_json(shell: Shell) -> None:
    said = shell(*ASKED, "--json")
    assert said.code == 0, said.err
    found = said.json()
    errors = {row["name"]: row["error"] for row in found["rows"]}
    assert (found["requests"], found["tp"], found["extrapolated"]) == (300, 1, [])
    assert abs(errors["ttft mean"]) <= 0.05
    assert abs(errors["tpot mean"]) <= 0.02


def test_the_table(shell: Shell) -> None:
    said = shell(*ASKED)
    assert said.code == 0, said.err
    assert "ttft mean" in said.out
    assert "%" in said.out
    assert "300 requests, tensor parallel 1, 1 engine, at most 128 sequences" in said.err


def test_meta_json_says_how_it_was_started(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(Path(MEASURED).read_text())
    meta = {
        "engine_kwargs": {
            "max_num_seqs": 512,
            "max_num_batched_tokens": 4096,
            "tensor_parallel_size": 2,
            "data_parallel_size": 2,
        }
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    said = shell(
        "twin", "validate", "--profile", "rtxpro6000-llama-3.1-8b", "--measured", str(tmp_path / "requests.jsonl")
    )
    assert said.code == 0, said.err
    assert "tensor parallel 2, 2 engines, at most 512 sequences" in said.err
    assert "extrapolated" in said.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--measured", "none.jsonl"), 3, "none.jsonl"),
        (("--profile", "none"), 3, "none"),
        (("--tp", "64"), 2, "degree 64"),
        (("--kv-blocks", "1"), 2, "can't run"),
        (("--max-seqs", "4096"), 2, "at least max_seqs"),
    ],
)
def test_mistakes(shell: Shell, options: tuple[str, ...], code: int, words: str) -> None:
    said = shell(*ASKED, *options)
    assert said.code == code, said.err
    assert words in said.err
