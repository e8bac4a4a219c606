import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.twin.serve_synthetic import Recipe, generate, parse


def test_a_recipe_reads_as_it_is_written() -> None:
    assert parse("synthetic:rate=5, turns=4,share=0.5") == Recipe(rate=5, turns=4, share=0.5)
    assert parse("synthetic:") == Recipe()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rat=5", "did you mean rate"),
        ("rate", "rate is ''"),
        ("rate=0", "from 1e-06"),
        ("rate=nan", "rate is 'nan'"),
        ("share=2", "from 0 to 1"),
        ("rate=1000000,seconds=1000000", "above 5,000,000"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse("synthetic:" + text)


@given(st.text(max_size=40))
def test_any_text_is_a_recipe_or_a_complaint(text: str) -> None:
    try:
        assert isinstance(parse("synthetic:" + text), Recipe)
    except UsageError as error:
        assert error.field == "trace"


def test_a_stream_is_what_was_asked_for() -> None:
    trace = generate(Recipe(rate=20, seconds=200, prompt=1000, output=100))
    assert trace.synthetic
    assert "made up" in trace.notes[0]
    assert len(trace) == pytest.approx(4000, rel=0.1)
    assert sum(trace.prompt_tokens) / len(trace) == pytest.approx(1000, rel=0.1)
    assert sum(trace.output_tokens) / len(trace) == pytest.approx(100, rel=0.1)
    assert trace.arrival_s[-1] < 200
    for prompt, blocks in zip(trace.prompt_tokens, trace.blocks, strict=True):
        assert len(blocks) == prompt // trace.block_tokens


def test_the_same_seed_is_the_same_stream() -> None:
    one, two, other = (generate(Recipe(rate=5, seconds=50, turns=3, seed=seed)) for seed in (1, 1, 2))
    assert one.arrival_s == two.arrival_s
    assert one.blocks == two.blocks
    assert one.arrival_s != other.arrival_s


def test_heads_are_shared() -> None:
    trace = generate(Recipe(rate=10, seconds=60, share=0.5, prefixes=2))
    heads = {blocks[0] for blocks in trace.blocks if len(blocks) > 4}
    assert len(heads) <= 2
    alone = generate(Recipe(rate=10, seconds=60))
    firsts = [blocks[0] for blocks in alone.blocks if blocks]
    assert len(set(firsts)) == len(firsts)


def test_turns_continue_their_conversation() -> None:
    trace = generate(Recipe(rate=1, seconds=60, turns=5))
    last: dict[str, int] = {}
    for at in range(len(trace)):
        session = trace.session[at]
        if session in last:
            before = trace.blocks[last[session]]
            assert list(trace.blocks[at][: len(before)]) == list(before)
            assert trace.prompt_tokens[at] > trace.prompt_tokens[last[session]]
        if session is not None:
            last[session] = at
    assert len(last) < len(trace)


def test_a_swing_moves_the_rate() -> None:
    trace = generate(Recipe(rate=10, seconds=400, swing=1))
    middle = sum(1 for time_s in trace.arrival_s if 100 <= time_s < 300)
    assert middle > 0.7 * len(trace)


def test_a_time_too_short() -> None:
    with pytest.raises(UsageError, match="no request"):
        generate(Recipe(rate=1e-6, seconds=0.001))


def test_a_recorded_day_sets_the_rate(tmp_path: Path) -> None:
    day = tmp_path / "day.csv"
    day.write_text("timestamp_anon,value\n" + "".join(f"{at},{1 if at < 50 else 3}\n" for at in range(101)))
    trace = generate(Recipe(rate=10, seconds=200, shape=str(day)))
    first = sum(1 for at_s in trace.arrival_s if at_s < 100)
    assert len(trace) == pytest.approx(2000, rel=0.1)
    assert (len(trace) - first) / first == pytest.approx(3, rel=0.2)
    assert "shape of day.csv" in trace.notes[0]


def test_lengths_of_a_trace_stay_together(tmp_path: Path) -> None:
    given_trace = tmp_path / "t.csv"
    given_trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,7\n1,2000,3\n")
    trace = generate(Recipe(rate=10, seconds=50, lengths=str(given_trace)))
    assert set(zip(trace.prompt_tokens, trace.output_tokens, strict=True)) == {(100, 7), (2000, 3)}
    assert "prompt=" not in trace.notes[0]


@pytest.mark.parametrize(
    ("text", "words"), [("shape=", "names no file"), ("swing=0.5,shape=x.csv", "two days")]
)  # fmt: skip
def test_a_day_that_makes_no_sense(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse("synthetic:" + text)


def test_streams_are_what_they_always_were() -> None:
    trace = generate(Recipe(rate=5, seconds=20, turns=3, share=0.3, seed=4))
    digest = hashlib.sha256(
        repr((list(trace.arrival_s), list(trace.prompt_tokens), list(trace.output_tokens))).encode()
    )
    assert digest.hexdigest()[:16] == "55201c2005b31888"


def test_adapters_follow_a_zipf_law_and_change_nothing_else() -> None:
    plain, wanted = (generate(Recipe(rate=50, seconds=100, adapters=num, share=0.5)) for num in (0, 8))
    assert not plain.adapters
    assert wanted.adapters == tuple(f"adapter-{rank}" for rank in range(1, 9))
    assert plain.arrival_s == wanted.arrival_s
    assert plain.prompt_tokens == wanted.prompt_tokens
    counts = [wanted.adapter.count(f"adapter-{rank}") for rank in (1, 2, 4)]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.2)
    assert counts[0] / counts[2] == pytest.approx(4, rel=0.25)
    even = generate(Recipe(rate=50, seconds=100, adapters=8, zipf=0))
    assert even.adapter.count("adapter-1") == pytest.approx(len(even) / 8, rel=0.15)
