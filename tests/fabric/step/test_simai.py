"""SimAI's workload text: both ways, and every mistake named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.fabric.step.simai import Layer, Message, Workload, parse_workload, render_workload

HEADER = (
    "HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 2 ep: 1 pp: 2 vpp: 1 ga: 4 all_gpus: 16 "
    "checkpoints: 0 checkpoint_initiates: 0 pp_comm: 1024"
)
GOOD = f"""{HEADER}
2
embedding_layer -1 1000 ALLREDUCE 4096 1 NONE 0 1 NONE 0 100
mlp -1 2000 ALLGATHER 8192 3000 REDUCESCATTER 8192 1500 ALLREDUCE_DP_EP 65536 100
"""
ENOUGH = st.integers(0, 10**12)
MESSAGES = st.one_of(
    st.builds(
        Message, st.sampled_from(["allreduce", "allgather", "reducescatter", "alltoall"]),
        st.sampled_from(["ep", "expert_dp"]), ENOUGH,
    ),
    st.none(),
)  # fmt: skip


def layers():
    names = st.text("abcdefgh_0123456789", min_size=1, max_size=12)
    own = ("tp", "tp", "dp")

    def build(name, dep, compute, messages, update):
        filled = [one if one is not None else Message(None, own[at], 0) for at, one in enumerate(messages)]
        return Layer(name, dep, compute, tuple(filled), update)

    return st.builds(
        build, names, st.integers(-1, 100), st.tuples(ENOUGH, ENOUGH, ENOUGH), st.tuples(MESSAGES, MESSAGES, MESSAGES), ENOUGH
    )  # fmt: skip


@given(
    tp=st.integers(1, 8), pp=st.integers(1, 8), dp=st.integers(1, 8), ga=st.integers(1, 64),
    rows=st.lists(layers(), min_size=1, max_size=6), pp_comm=ENOUGH,
)  # fmt: skip
def test_what_is_written_is_read(tp, pp, dp, ga, rows, pp_comm):
    workload = Workload(
        tp=tp, ep=1, pp=pp, vpp=1, ga=ga, all_gpus=tp * pp * dp, pp_comm=pp_comm, layers=tuple(rows)
    )  # fmt: skip
    assert parse_workload(render_workload(workload), "w") == workload


def test_a_file():
    workload = parse_workload(GOOD, "w.txt")
    assert (workload.tp, workload.pp, workload.dp, workload.ga, workload.pp_comm) == (2, 2, 4, 4, 1024)
    assert workload.layers[0].messages[0] == Message("allreduce", "tp", 4096)
    assert workload.layers[1].messages[2] == Message("allreduce", "expert_dp", 65536)
    assert workload.layers[0].messages[2].dimension == "dp"


@pytest.mark.parametrize(("text", "said"), [
    ("", "w:1: a header"),
    (HEADER, "w:1: a header"),
    (GOOD.replace("HYBRID_TRANSFORMER_FWD_IN_BCKWD", "DATA"), "w:1: parallelism"),
    (GOOD.replace(" ga: 4", ""), "w:1: ga: is missing"),
    (GOOD.replace("ga: 4", "ga: four"), "w:1: ga: is missing"),
    (GOOD.replace("ga: 4", "ga: 0"), "w:1: ga: 0"),
    (GOOD.replace("all_gpus: 16", "all_gpus: 15"), "w:1: all_gpus: 15"),
    (GOOD.replace("ep: 1", "ep: 3"), "w:1: ep: 3"),
    (GOOD.replace("\n2\n", "\n3\n"), "w:2: it says 3 layers, 2 follow"),
    (GOOD.replace("\n2\n", "\ntwo\n"), "w:2: the second line"),
    (GOOD.replace("mlp -1", "mlp"), "w:4: 11 columns"),
    (GOOD.replace("2000", "-2000"), "w:4: fwd_compute_ns"),
    (GOOD.replace("2000", "2e3"), "w:4: fwd_compute_ns"),
    (GOOD.replace("ALLGATHER", "GATHER"), "w:4: fwd_comm: 'GATHER'"),
    (GOOD.replace("65536", "9" * 17), "w:4: wg_bytes"),
    (GOOD.replace("mlp -1", "mlp x"), "w:4: dep"),
])  # fmt: skip
def test_mistakes_name_line_and_field(text, said):
    with pytest.raises(SpecError) as caught:
        parse_workload(text, "w")
    assert caught.value.message.startswith(said)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text):
    for candidate in (text, HEADER + "\n" + text, GOOD + text):
        try:
            parse_workload(candidate, "w")
        except SpecError as error:
            assert error.message.startswith("w:")
