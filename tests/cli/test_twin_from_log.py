"""`twin from-log`: a trace and a summary."""

import json
from pathlib import Path

import pytest

from roadbed.router.traffic import Seen
from roadbed.twin.serve_read import read_trace
from tests.cli.fabric_shell import roadbed

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = []
    for at in range(20):
        one = Seen(
            at=1_700_000_000.0 + at, service="chat" if at % 2 else "embed", model="m", prompt_tokens=600, cached_tokens=0,
            output_tokens=8, block_tokens=512.0, blocks=[at % 3], predicted_ttft_s=0.1, ttft_s=0.1 + at / 100,
        )  # fmt: skip
        lines.append(json.dumps({name: getattr(one, name) for name in one.__struct_fields__}))
    (tmp_path / "gateway-0.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_trace_is_written(capsys: Capsys, log: Path) -> None:
    out = log / "trace.jsonl"
    said = roadbed(
        capsys, "twin", "from-log", "--log", str(log), "--service", "chat", "--out", str(out), "--json"
    ).json()
    assert said["requests"] == 10
    assert said["prediction"]["requests"] == 10
    assert len(read_trace(out)) == 10


def test_for_people(capsys: Capsys, log: Path) -> None:
    said = roadbed(capsys, "twin", "from-log", "--log", str(log))
    assert said.code == 0
    assert "measured ÷ predicted" in said.out
    assert "chat 10" in said.out


@pytest.mark.parametrize(("words", "said"), [
    (["--service", "nobody"], "there are chat, embed"), (["--since", "1s"], "no request of that time"),
    (["--log", "nowhere"], "no traffic log"),
])  # fmt: skip
def test_what_is_not_there_is_named(capsys: Capsys, log: Path, words: list[str], said: str) -> None:
    answer = roadbed(capsys, "twin", "from-log", "--log", str(log), *words)
    assert answer.code == 3
    assert said in answer.err
