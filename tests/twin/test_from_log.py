"""Traffic logs as traces: what is kept, what is left out, and that the twin can read it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import NotFoundError, SpecError
from roadbed.router.traffic import Seen
from roadbed.twin.from_log import chosen, read_log, summarise, trace_rows
from roadbed.twin.serve_read import read_trace


def seen(at: float, **more) -> Seen:
    given = {"service": "chat", "model": "m", "prompt_tokens": 1100, "cached_tokens": 100, "output_tokens": 20,
             "block_tokens": 512.0, "blocks": [7, 8], **more}  # fmt: skip
    return Seen(at=at, **given)


def write(folder: Path, name: str, *lines: Seen | str) -> None:
    folder.mkdir(exist_ok=True)
    text = (one if isinstance(one, str) else json.dumps(one.__struct_fields__ and _plain(one)) for one in lines)
    (folder / name).write_text("\n".join(text) + "\n")


def _plain(one: Seen) -> dict:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_workers_are_merged_in_order_of_arrival_and_half_a_line_is_counted(tmp_path: Path) -> None:
    write(tmp_path, "gateway-0.jsonl", seen(3.0), seen(5.0), '{"at": 6.0, "serv')
    write(tmp_path, "gateway-1.1.jsonl", seen(1.0))
    write(tmp_path, "gateway-1.jsonl", seen(4.0))
    got, broken = read_log(tmp_path)
    assert [one.at for one in got] == [1.0, 3.0, 4.0, 5.0]
    assert broken == 1


def test_no_log_and_no_requests_are_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no traffic log"):
        read_log(tmp_path)
    write(tmp_path, "gateway-0.jsonl", "not", "a", "log", seen(1.0))
    with pytest.raises(SpecError, match="3 of 4 lines"):
        read_log(tmp_path)
    with pytest.raises(NotFoundError, match="there are chat"):
        chosen([seen(1.0)], service="other")
    with pytest.raises(NotFoundError, match="of that time"):
        chosen([seen(1.0)], since=2.0)


def test_services_and_times_are_chosen() -> None:
    every = [seen(1.0), seen(2.0, service="embed"), seen(3.0)]
    assert [one.at for one in chosen(every, service="chat")] == [1.0, 3.0]
    assert [one.at for one in chosen(every, since=1.5, until=2.5)] == [2.0]


def test_the_trace_is_one_the_twin_reads(tmp_path: Path) -> None:
    every = [
        seen(10.0, session=5, blocks=[11, 12]), seen(11.5, blocks=[11, 13], session=5, priority=2),
        seen(12.0, outcome="shed", prompt_tokens=0, blocks=[]), seen(13.0, prompt_tokens=600, blocks=[11, 12]),
    ]  # fmt: skip
    out = tmp_path / "trace.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in trace_rows(every)))
    trace = read_trace(out)
    assert list(trace.arrival_s) == [0.0, 1.5, 3.0]
    assert [list(blocks) for blocks in trace.blocks] == [[1, 2], [1, 3], [1]]
    assert trace.session == ["s1", "s1", None]
    assert list(trace.priority) == [5, 2, 5]
    assert trace.block_tokens == 512


def test_the_summary_counts_what_could_be_reused_and_how_good_predictions_were() -> None:
    every = [
        seen(0.0, blocks=[1, 2], predicted_ttft_s=0.1, ttft_s=0.2), seen(5.0, blocks=[1, 3], predicted_ttft_s=0.2, ttft_s=0.2),
        seen(10.0, outcome="engine_error"),
    ]  # fmt: skip
    got = summarise(every, 2)
    assert (got.requests, got.left_out, got.span_s) == (3, 3, 10.0)
    assert got.reusable_share == 0.25
    assert got.cached_share == pytest.approx(200 / 2200)
    assert got.prediction is not None
    assert (got.prediction.requests, got.prediction.ratio_p10, got.prediction.ratio_p90) == (2, 1.0, 2.0)
    assert got.prediction.mean_abs_error_s == pytest.approx(0.05)
    assert summarise([seen(0.0)], 0).prediction is None


@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_any_lines_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "gateway-0.jsonl").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        got, broken = read_log(folder)
    except SpecError:
        return
    assert broken <= max(len(got), 0)
