import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, RoadbedError, SpecError
from roadbed.twin.serve_read import read_trace

DATA = Path(__file__).parents[1] / "data"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Session ID,Request tokens,Response tokens,Total tokens,Log Type\n"


def written(tmp_path: Path, text: str, name: str = "t.jsonl") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def lines(*rows: dict[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def test_mooncake() -> None:
    trace = read_trace(DATA / "mooncake_synthetic.jsonl")
    assert len(trace) == 60
    assert trace.block_tokens == 512
    assert trace.prompt_tokens[0] == 40160
    assert len(trace.blocks[0]) == 40160 // 512
    assert trace.arrival_s[2] == 0.04
    assert any(":2: arrives with another" in note for note in trace.notes)


def test_azure(tmp_path: Path) -> None:
    text = AZURE + "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
    trace = read_trace(written(tmp_path, text, "a.csv"))
    assert list(trace.prompt_tokens) == [4808, 3180]
    assert trace.arrival_s[1] == pytest.approx(0.052)
    assert trace.block_tokens == 0


def test_azure_of_the_second_year_names_its_zone(tmp_path: Path) -> None:
    text = AZURE + "2024-05-10 00:00:00.009930+00:00,100,10\n2024-05-10 00:00:01+00:00,5,8\n"
    assert read_trace(written(tmp_path, text, "a.csv")).arrival_s[1] == pytest.approx(0.99007)


def test_bailian(tmp_path: Path) -> None:
    turn = {"chat_id": 7, "parent_chat_id": -1, "timestamp": 1.5, "input_length": 40, "output_length": 3,
            "type": "text", "turn": 1, "hash_ids": [1, 2, 3]}  # fmt: skip
    after = {**turn, "chat_id": 9, "parent_chat_id": 7, "timestamp": 4.5, "turn": 2}
    last = {**turn, "chat_id": 11, "parent_chat_id": 9, "timestamp": 5.0, "turn": 3}
    trace = read_trace(written(tmp_path, lines(turn, after, last)))
    assert trace.block_tokens == 16
    assert trace.session == ["7", "7", "7"]
    assert list(trace.blocks[0]) == [1, 2]
    assert trace.arrival_s[1] == 3.0


def test_burstgpt_leaves_out_what_failed(tmp_path: Path) -> None:
    text = BURST + "5,s1,472,18,490,Chat\n45,,1087,0,1087,Chat\n118,,417,276,693,API\n"
    trace = read_trace(written(tmp_path, text, "b.csv"))
    assert list(trace.output_tokens) == [18, 276]
    assert trace.session == ["s1", None]
    assert any("b.csv:3: failed" in note for note in trace.notes)


def test_sharegpt_repeats_what_was_said(tmp_path: Path) -> None:
    talk = {"id": "x", "conversations": [
        {"from": "human", "value": "q" * 400}, {"from": "gpt", "value": "a" * 200},
        {"from": "human", "value": "r" * 40}, {"from": "gpt", "value": "b" * 20}, {"from": "human", "value": "?"},
    ]}  # fmt: skip
    path = written(tmp_path, lines(talk, talk))
    trace = read_trace(path, rate=0.001)
    assert sorted(trace.prompt_tokens) == [100, 100, 160, 160]
    firsts = [blocks for blocks, prompt in zip(trace.blocks, trace.prompt_tokens, strict=True) if prompt == 100]
    seconds = [blocks for blocks, prompt in zip(trace.blocks, trace.prompt_tokens, strict=True) if prompt == 160]
    assert list(seconds[0][:6]) == list(firsts[0])
    assert len(set(trace.session)) == 2
    assert read_trace(path, rate=0.001).arrival_s == trace.arrival_s
    assert read_trace(path, rate=0.001, seed=1).arrival_s != trace.arrival_s


def test_generic(tmp_path: Path) -> None:
    row = {"arrival_s": 1, "prompt_tokens": 10, "output_tokens": 2, "priority": 1, "session": "a", "block_tokens": 4,
           "block_hashes": [5, 6]}  # fmt: skip
    trace = read_trace(written(tmp_path, lines(row, {**row, "arrival_s": 3})))
    assert trace.block_tokens == 4
    assert list(trace.blocks[1]) == [5, 6]
    assert trace.priority[0] == 1
    named = read_trace(written(tmp_path, lines({**row, "adapter": "law", "model": "m"}, {**row, "adapter": None})))
    assert (named.adapter, named.model) == (["law", ""], ["m", ""])
    assert list(named.blocks[0]) != [5, 6] == list(named.blocks[1])
    with pytest.raises(SpecError, match="adapter has 201 characters"):
        read_trace(written(tmp_path, lines({**row, "adapter": "x" * 201})))
    text = "arrival_s,prompt_tokens,output_tokens\n0,5,5\n"
    assert len(read_trace(written(tmp_path, text, "g.csv"))) == 1


MOON = {"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [1, 2]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"input_length": 0}, "input_length is 0, below 1"),
        ({"output_length": 0}, "output_length is 0"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": "soon"}, "no number"),
        ({"timestamp": None}, "timestamp is empty"),
        ({"hash_ids": [1]}, "1 hashes for 1024 tokens"),
        ({"hash_ids": [1, 2, 3, 4]}, "4 hashes"),
        ({"hash_ids": "abc"}, "no list"),
        ({"hash_ids": [1.5, 2]}, "no list of whole"),
        ({"hash_ids": [1, 1 << 70]}, "no list of whole"),
        ({"input_length": 10**9}, "above"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_row(tmp_path: Path, row: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=rf"t\.jsonl:2: .*{words}"):
        read_trace(written(tmp_path, lines(MOON, {**MOON, **row})))


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "t.csv", "no known trace"),
        ("a,b\n1,2\n", "t.csv", "there is a, b"),
        (AZURE, "t.csv", "no requests"),
        (AZURE + "yesterday,1,1\n", "t.csv", "no date"),
        (AZURE + "2023-11-16 18:17:03,1\n", "t.csv", "2 cells under 3"),
        ('{"x": 1}\n', "t.jsonl", "no known form"),
        ('{"conversations": [{"from": "human"}]}\n', "t.jsonl", "needs `from` and `value`"),
        ('{"conversations": "hm"}\n', "t.jsonl", "no list"),
        ('{"conversations": [{"from": "gpt", "value": "alone"}]}\n', "t.jsonl", "no requests"),
        ('{"input_length": 5\n', "t.jsonl", "no JSON"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, text: str, name: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_trace(written(tmp_path, text, name))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.csv", "none.jsonl"):
        with pytest.raises(NotFoundError):
            read_trace(tmp_path / name)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.dictionaries(
                st.sampled_from(["timestamp", "input_length", "output_length", "hash_ids", "chat_id", "conversations"]),
                st.one_of(
                    st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
                ),
            ),
            max_size=3,
        ).map(lambda rows: "\n".join(json.dumps(row) for row in rows).encode()),
        st.text(max_size=60).map(lambda text: (AZURE + text).encode("utf-8", "ignore")),
    ),
    st.sampled_from(["t.csv", "t.jsonl"]),
)
def test_anything_is_a_trace_or_a_complaint(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    try:
        trace = read_trace(path)
    except RoadbedError as error:
        assert name in error.message
    else:
        assert len(trace) > 0
        assert min(trace.prompt_tokens) >= 1
        assert min(trace.output_tokens) >= 1
        assert list(trace.arrival_s) == sorted(trace.arrival_s)
