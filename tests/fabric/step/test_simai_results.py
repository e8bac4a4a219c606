"""SimAI's end-to-end CSV."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.fabric.step.simai_results import parse_results

HEADER = (
    "layer_name,run1,fwd compute,wg compute,ig compute,fwd exposed comm,wg exposed comm,ig exposed comm,"
    "fwd total comm,algbw,busbw,wg total comm,algbw,busbw,ig total comm,algbw,busbw"
)
GOOD = f"""{HEADER}
embedding_layer,run1,10,20,30,5,0,0,5,100.5,150.75,0,NONE,NONE,0,nan,NaN or Inf
mlp,run1,100,200,300,50,7,50,50,90,135,70,40,60,50,90,135,12345.6
SUM,run1,110,220,330,55,7,50,55,NONE,NONE,70,NONE,NONE,50,NONE,NONE
total exposed comm,112,total comp,660,total time,772
File name, Expose DP comm
run1, 7 (0.9%)
"""


def test_a_file() -> None:
    results = parse_results(GOOD, "r.csv")
    assert results.run == "run1"
    assert [layer.name for layer in results.layers] == ["embedding_layer", "mlp"]
    assert results.compute_s() == pytest.approx(660e-6)
    assert [results.total_s(phase) for phase in ("fwd", "ig", "wg")] == pytest.approx([55e-6, 50e-6, 70e-6])
    wg = results.layers[1].communication["wg"]
    assert (wg.exposed_s, wg.algbw_gbytes_s, wg.busbw_gbytes_s) == (7e-6, 40, 60)
    assert results.layers[0].communication["ig"].busbw_gbytes_s == 0.0


@pytest.mark.parametrize(("text", "said"), [
    ("", "r:1: the first row"),
    ("a,b\n", "r:1: the first row"),
    (HEADER, "r:1: no layers"),
    (HEADER + "\nSUM,run1", "r:1: no layers"),
    (GOOD.replace("mlp,run1,100", "mlp,run1,many"), "r:3: fwd compute: 'many'"),
    (GOOD.replace("mlp,run1,100", "mlp,run1,-1"), "r:3: fwd compute: '-1'"),
    (GOOD.replace("mlp,run1,100", "mlp,run1,nan"), "r:3: fwd compute"),
    (HEADER + "\nmlp,run1,1,2\n", "r:2: 4 columns"),
])  # fmt: skip
def test_mistakes_name_line_and_column(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_results(text, "r")
    assert caught.value.message.startswith(said)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, HEADER + "\n" + text, GOOD + text):
        try:
            parse_results(candidate, "r")
        except SpecError as error:
            assert error.message.startswith("r:")
