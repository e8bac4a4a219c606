"""Tasks: what their fields mean together, and where a mistake is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import SpecError
from roadbed.spec.load import load_text, load_value
from roadbed.spec.task import LAUNCHER_VARIABLES, Task

HEAD = "kind: task\nname: t\ncommand: [python, train.py]\n"


def task(text: str = "") -> Task:
    (spec,) = load_text(HEAD + text)
    assert isinstance(spec, Task)
    return spec


def test_the_least_one_can_write() -> None:
    one = task()
    assert (one.gang.min, one.gang.max) == (1, 1)
    assert one.argv == ["python", "train.py"]
    assert (one.priority, one.preemptible, one.retries, one.grace_period) == (5, True, 0, 30.0)
    assert (one.max_duration, one.checkpoint_every, one.quota, one.placement) == (None, None, None, "pack")
    assert one.slices_in_processes == ()


def test_all_one_can_write() -> None:
    one = task(
        "workers: 2..16\nresources: {cpu: 8, memory: 64GiB, gpu: H100:8}\nenvironment: {LR: '0.1'}\nworking_dir: /data\n"
        "quota: research/nlp\npriority: 9\npreemptible: false\nmax_duration: 4h\nretries: 3\ngrace_period: 1m\n"
        "checkpoint_every: 30m\ntopology: {required: pod, preferred: segment}\nnode_selector: {zone: a}\nplacement: spread\n"
    )
    assert (one.gang.min, one.gang.max) == (2, 16)
    assert one.max_duration == 4 * 3600
    assert one.checkpoint_every == 1800
    assert one.devices_per_process == 8
    assert load_value(one.model_dump(mode="json")) == one


def test_a_text_is_run_by_a_shell() -> None:
    (one,) = load_text("kind: task\nname: t\ncommand: echo hi && exit 3\n")
    assert isinstance(one, Task)
    assert one.argv == ["sh", "-c", "echo hi && exit 3"]


def test_slices_count_whole_accelerators_else_processes() -> None:
    slices = "topology: {slices: [{each: 8, in: server}, {each: 32, in: segment}]}\n"
    assert task("processes: 64\nresources: {gpu: 1}\n" + slices).slices_in_processes == ((8, "server"), (32, "segment"))
    assert task("processes: 8\nresources: {gpu: 8}\n" + slices).slices_in_processes == ((1, "server"), (4, "segment"))
    assert task("processes: 64\n" + slices).slices_in_processes == ((8, "server"), (32, "segment"))
    assert task("processes: 32\nresources: {gpu: 0.5}\n" + slices).slices_in_processes == (
        (8, "server"),
        (32, "segment"),
    )


def test_islands_may_be_narrower_or_wider_than_servers() -> None:
    task("processes: 144\ntopology: {slices: [{each: 4, in: server}, {each: 72, in: island}], required: pod}\n")
    task("processes: 16\ntopology: {slices: [{each: 8, in: island}, {each: 16, in: server}], required: server}\n")
    task("processes: 2\ntopology: {required: island, preferred: server}\n")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("processes: 2\nworkers: 1..2\n", 5, "processes and workers both give the size"),
        ("processes: 0\n", 4, "greater than or equal to 1"),
        ("workers: 0..4\n", 4, "an elastic gang has 1 to"),
        ("workers: 4..2\n", 4, "must satisfy"),
        ("resources:\n  gpu: H10:8\n", 5, "did you mean 'H100'?"),
        ("priority: 10\n", 4, "less than or equal to 9"),
        ("max_duration: 0s\n", 4, "max_duration: must be above 0"),
        ("checkpoint_every: 0\n", 4, "checkpoint_every: must be above 0"),
        ("retries: -1\n", 4, "greater than or equal to 0"),
        ("quota: a//b\n", 4, "'' is not a name"),
        ("quota: a/b/c/d/e/f/g/h/i\n", 4, "deeper than 8 quotas"),
        ("environment: {RANK: '1'}\n", 4, "RANK is set by the launcher"),
        ("environment: {A-B: '1'}\n", 4, "'A-B' is not the name of an environment variable"),
        ("environment: {A: 1}\n", 4, "valid string"),
        ("environment: {A: \"x\\0y\"}\n", 4, "NUL"),
        ("topology:\n  required: rack\n", 5, "Input should be 'island', 'server', 'segment' or 'pod'"),
        ("topology:\n  required: server\n  preferred: pod\n", 6, "pod is wider than the required server"),
        ("processes: 8\ntopology:\n  required: server\n  slices:\n    - {each: 8, in: segment}\n", 8, "segment is wider than the required server"),
        ("processes: 8\ntopology:\n  slices:\n    - {each: 4, in: server}\n    - {each: 6, in: segment}\n", 8, "each: 6 is not a multiple of the 4"),
        ("processes: 8\ntopology:\n  slices:\n    - {each: 4, in: segment}\n    - {each: 8, in: server}\n", 8, "in: server is not wider than the segment"),
        ("processes: 8\ntopology:\n  slices:\n    - {each: 4, in: server}\n    - {each: 8, in: server}\n", 8, "in: server is not wider than the server"),
        ("processes: 9\ntopology:\n  slices:\n    - {each: 4, in: server}\n", 7, "4 does not divide the gang of 9 processes"),
        ("processes: 3\nresources: {gpu: 8}\ntopology:\n  slices:\n    - {each: 16, in: server}\n", 8, "16 does not divide the gang of 24 accelerators"),
        ("processes: 3\nresources: {gpu: 8}\ntopology:\n  slices:\n    - {each: 4, in: island}\n", 8, "4 splits processes, which have 8 accelerators each"),
        ("workers: 4..9\ntopology:\n  slices:\n    - {each: 4, in: server}\n", 7, "4 does not divide the gang of 4 to 9 processes"),
        ("topology: {slices: [{each: 0, in: server}]}\n", 4, "greater than or equal to 1"),
        ("topology: {slices: [{each: 1, inn: server}]}\n", 4, "'inn' is not a key of slices; did you mean 'in'?"),
        ("placement: packed\n", 4, "Input should be 'pack' or 'spread'"),
        ("command: []\n", 4, "key 'command' is written twice"),
    ],
)  # fmt: skip
def test_mistakes_are_said_on_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_text(HEAD + text, "t.yaml")
    assert words in caught.value.message
    assert f"t.yaml:{line}: " in caught.value.message


@pytest.mark.parametrize("command", ["[]", '""', '["a\\0"]', "3", "{}"])
def test_what_is_no_command(command: str) -> None:
    with pytest.raises(SpecError, match="command"):
        load_text(f"kind: task\nname: t\ncommand: {command}\n")


def test_what_the_launcher_sets_is_what_torch_reads() -> None:
    assert {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"} <= LAUNCHER_VARIABLES


LEVELS = st.sampled_from(["island", "server", "segment", "pod"])
SLICES = st.lists(
    st.builds(lambda each, level: {"each": each, "in": level}, st.sampled_from([1, 2, 3, 4, 8, 16]), LEVELS), max_size=4
)


@given(
    st.integers(1, 4).map(lambda power: 2**power) | st.integers(1, 40),
    st.sampled_from([None, 0.5, 1, 2, 8, "H100:4"]),
    st.none() | LEVELS,
    SLICES,
)
def test_slices_that_pass_tile_the_gang(
    num: int, gpu: object, required: str | None, slices: list[dict[str, object]]
) -> None:
    value = {
        "kind": "task", "name": "t", "command": "x", "processes": num, "resources": {"gpu": gpu},
        "topology": {"required": required, "slices": slices},
    }  # fmt: skip
    try:
        one = load_value(value)
    except SpecError as caught:
        assert "slices" in caught.message
        return
    assert isinstance(one, Task)
    before = 1
    for each, _ in one.slices_in_processes:
        assert each >= 1
        assert each % before == 0
        assert num % each == 0
        before = each
    assert load_value(one.model_dump(mode="json")) == one
