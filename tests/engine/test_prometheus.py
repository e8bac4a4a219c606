import math

from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine.prometheus import MAX_SAMPLES, Sample, parse, total

PAGE = """# HELP x y
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a \\"b\\" \\\\ c\\n"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0 1700000000
llamacpp:requests_deferred 2
bad line here
x{unclosed 5
n NaN
i +Inf
"""


def test_reads_names_labels_values_and_skips_the_rest() -> None:
    samples = parse(PAGE)
    assert samples[0] == Sample("vllm:num_requests_running", {"engine": "0", "model_name": 'a "b" \\ c\n'}, 3.0)
    assert total(samples, "vllm:num_requests_running") == 7.0
    assert total(samples, "llamacpp:requests_deferred") == 2.0
    assert total(samples, "absent") is None
    assert math.isnan(next(s.value for s in samples if s.name == "n"))
    assert not any(s.name in ("bad", "x") for s in samples)


def test_a_huge_page_is_bounded() -> None:
    assert len(parse("a 1\n" * (MAX_SAMPLES + 100))) == MAX_SAMPLES


@given(st.text(max_size=300))
def test_never_raises(text: str) -> None:
    for sample in parse(text):
        assert sample.name


_name = st.from_regex(r"[a-z_:][a-z0-9_:]{0,8}", fullmatch=True)
_label = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # what splitlines splits at included


@given(_name, st.dictionaries(_label, _text, max_size=3), st.floats(allow_nan=False))
def test_what_was_written_is_read(name: str, labels: dict[str, str], value: float) -> None:
    escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, text in labels.items()}
    inside = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    assert parse(f"{name}{{{inside}}} {value!r}") == [Sample(name, labels, value)]
