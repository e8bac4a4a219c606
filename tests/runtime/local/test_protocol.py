import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import ConflictError, NotFoundError, RuntimeFailure, UsageError
from roadbed.runtime.base import ProcessLimits, ProcessSpec
from roadbed.runtime.local import protocol
from roadbed.spec.base import check_name


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_usage_error(line: bytes) -> None:
    try:
        request = protocol.decode_request(line)
    except UsageError:
        pass
    else:
        assert protocol.decode_request(msgspec.json.encode(request)) == request


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(op=st.sampled_from(["start", "stop", "list", "forget", "log_tail", "ping", "shutdown", "x"]), rest=_json)
def test_near_requests_never_crash_the_decoder(op: str, rest: object) -> None:
    body = {"op": op, "name": rest, "spec": rest, "num_bytes": rest}
    with pytest.raises(UsageError):
        protocol.decode_request(msgspec.json.encode(body))


def test_deep_nesting_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        protocol.decode_request(b'{"op":"start","spec":' + b"[" * 100_000)


def test_a_start_request_survives_the_line() -> None:
    spec = ProcessSpec(
        name="a", argv=("x", "-y"), env={"K": "ü\n"}, labels={"l": "1"}, limits=ProcessLimits(nice=3, cpus=(0,))
    )
    line = msgspec.json.encode(protocol.Start(spec))
    assert b"\n" not in line
    assert protocol.decode_request(line) == protocol.Start(spec)


@pytest.mark.parametrize("kind", [UsageError, NotFoundError, ConflictError, RuntimeFailure])
def test_errors_arrive_as_they_were_raised(kind: type[UsageError]) -> None:
    with pytest.raises(kind) as caught:
        protocol.decode_reply(protocol.encode_error(kind("sentence", hint="roadbed ps", field="name")))
    assert (caught.value.message, caught.value.hint, caught.value.field) == ("sentence", "roadbed ps", "name")
    assert type(caught.value) is kind


@given(st.binary(max_size=100))
def test_a_broken_reply_is_a_runtime_failure(line: bytes) -> None:
    try:
        result = protocol.decode_reply(line)
    except RuntimeFailure:
        pass
    else:
        assert msgspec.json.decode(result) == msgspec.json.decode(line).get("result")


def test_bytes_come_back_as_bytes() -> None:
    raw = protocol.decode_reply(protocol.encode_ok(b"\x00\xff log\n"))
    assert msgspec.json.decode(raw, type=bytes) == b"\x00\xff log\n"


@given(st.text(max_size=70))
def test_process_names_follow_the_rule_of_spec_names(name: str) -> None:
    try:
        allowed = check_name(name) == name and not name.endswith("\n")
    except ValueError:
        allowed = False
    try:
        accepted = protocol.check_process_name(name) == name
    except UsageError:
        accepted = False
    assert accepted == (allowed and name not in protocol.RESERVED)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0", "A", "agent", "sentinel", "x" * 64, "-a", "a\n"])
def test_names_that_would_leave_the_log_directory_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        protocol.check_process_name(name)
