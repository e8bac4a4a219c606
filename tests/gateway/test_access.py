"""Keys: who is let in, who is not, and that remembering a header changes neither."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.gateway.access import MAX_REMEMBERED, Callers
from roadbed.gateway.openai.errors import ApiError
from roadbed.gateway.snapshot import KeyEntry, LimitsEntry, Snapshot, TenantEntry
from tests.gateway.rig import digest

GOOD = b"Bearer rb_a_secret"


def snapshot(*keys: KeyEntry) -> Snapshot:
    return Snapshot(version=1, tenants=(TenantEntry(name="t", slot=0),), keys=keys)


def key(id: str = "a", secret: str = "secret", **settings: object) -> KeyEntry:
    return KeyEntry(id=id, digest=digest(f"rb_{id}_{secret}"), tenant="t", slot=1, **settings)  # type: ignore[arg-type]


def refused(known: Callers, header: bytes | None, scope: str = "inference") -> tuple[int, str]:
    with pytest.raises(ApiError) as error:
        known.authenticate(header, scope)
    return error.value.status, error.value.code


@pytest.mark.parametrize("header", [GOOD, b"bearer rb_a_secret", b"BEARER   rb_a_secret "])
def test_a_good_key_is_let_in_again_and_again(header: bytes) -> None:
    known = Callers(snapshot(key()))
    first = known.authenticate(header, "inference")
    assert first.key.id == "a"
    assert known.authenticate(header, "inference") is first


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"), (b"", "invalid_api_key"), (b"Basic rb_a_secret", "invalid_api_key"),
        (b"Bearer rb_a_secre", "invalid_api_key"), (b"Bearer rb_b_secret", "invalid_api_key"),
        (b"Bearer rb_a", "invalid_api_key"), (b"Bearer ", "invalid_api_key"), (b"Bearer rb_a_secret_", "invalid_api_key"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_each_time(header: bytes | None, code: str) -> None:
    known = Callers(snapshot(key()))
    known.authenticate(GOOD, "inference")
    assert refused(known, header) == refused(known, header) == (401, code)


@given(st.binary(max_size=40))
def test_no_other_bytes_are_a_key(header: bytes) -> None:
    assert refused(Callers(snapshot(key())), header) == (401, "invalid_api_key")


def test_a_remembered_key_still_expires() -> None:
    expires_at = time.time() + 60
    entry = key(expires_at=expires_at)
    known = Callers(snapshot(entry))
    known.authenticate(GOOD, "inference")
    assert refused(Callers(snapshot(key(expires_at=time.time() - 1))), GOOD) == (401, "expired_api_key")
    for caller in known._by_id.values():
        caller.expires_at = time.time()
    assert refused(known, GOOD) == (401, "expired_api_key")


def test_scopes_are_asked_for_each_time() -> None:
    known = Callers(snapshot(key(scopes=("admin",))))
    known.authenticate(GOOD, "admin")
    assert refused(known, GOOD, "inference") == (403, "missing_scope")


def test_a_revoked_key_is_not_remembered_by_the_next_snapshot() -> None:
    Callers(snapshot(key())).authenticate(GOOD, "inference")
    assert refused(Callers(snapshot()), GOOD) == (401, "invalid_api_key")


def test_a_key_whose_tenant_is_unknown_is_left_out() -> None:
    orphan = KeyEntry(id="a", digest=digest("rb_a_secret"), tenant="gone", slot=1)
    assert refused(Callers(snapshot(orphan)), GOOD) == (401, "invalid_api_key")


def test_what_is_remembered_is_bounded() -> None:
    known = Callers(snapshot(key()))
    for spaces in range(MAX_REMEMBERED + 10):
        known.authenticate(b"Bearer " + b" " * spaces + b"rb_a_secret", "inference")
    assert len(known._by_header) <= MAX_REMEMBERED
    for number in range(50):
        refused(known, b"Bearer rb_a_%d" % number)
    assert len(known._by_header) == 10, "a refused header is not remembered"


def test_only_those_with_ceilings_are_limited() -> None:
    free = Callers(snapshot(key())).authenticate(GOOD, "inference")
    assert (free.limited, free.limits) == (False, ())
    bound = Callers(snapshot(key(limits=LimitsEntry(concurrency=1)))).authenticate(GOOD, "inference")
    assert bound.limited
    assert [view.owner for view in bound.limits] == ["key"]
