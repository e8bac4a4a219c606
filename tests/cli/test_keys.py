"""Keys are shown once, found by any of their names, and revoked at once."""

import time

import pytest

from roadbed.cli.keys import _limits, _state, find_key
from roadbed.errors import ConflictError, NotFoundError
from tests.cli.conftest import Shell


class Keys:
    """An API that knows these keys."""

    def api_keys(self, **_: object) -> list[dict[str, object]]:
        rows = [("aaaaaaaaaaaa", "ci", None), ("bbbbbbbbbbbb", "ci", None), ("cccccccccccc", "lap", None)]
        rows += [("dddddddddddd", "old", 5.0), ("eeeeeeeeeeee", "lap", 5.0)]
        return [{"id": key_id, "name": name, "revoked_at": revoked} for key_id, name, revoked in rows]


@pytest.mark.parametrize(
    ("text", "found"),
    [("lap", "cccccccccccc"), ("bbbbbbbbbbbb", "bbbbbbbbbbbb"), ("rb_dddddddddddd_secret", "dddddddddddd")],
)
def test_find_key(text: str, found: str) -> None:
    assert find_key(Keys(), text)["id"] == found  # type: ignore[arg-type]


def test_find_key_asks_when_a_name_is_several() -> None:
    with pytest.raises(ConflictError, match="2 keys are named 'ci': aaaaaaaaaaaa, bbbbbbbbbbbb"):
        find_key(Keys(), "ci")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["old", "lapp", "rb_"])
def test_find_key_of_nobody(text: str) -> None:
    with pytest.raises(NotFoundError):
        find_key(Keys(), text)  # type: ignore[arg-type]


def test_words() -> None:
    assert _limits({"requests_per_minute": 60, "monthly_budget_cny": 2.5}) == "60 req/min, 2.5 CNY/month"
    assert _limits({"concurrency": None}) == "none"
    assert _state({"revoked_at": 1.0, "expires_at": None}) == "revoked"
    assert _state({"revoked_at": None, "expires_at": time.time() - 1}) == "expired"
    assert _state({"revoked_at": None, "expires_at": time.time() + 60}) == "live"


@pytest.mark.e2e
def test_life_of_a_key(platform: Shell) -> None:
    made = platform("keys", "create", "laptop", "--rpm", "60", "--expires", "30d", "--scope", "inference")
    assert made.code == 0, made.err
    secret = made.out.strip()
    assert secret.startswith("rb_")
    assert made.out.count("\n") == 1
    deadline = time.monotonic() + 3
    while platform("chat", "Hi", "--max-tokens", "2", ROADBED_API_KEY=secret).code != 0:
        assert time.monotonic() < deadline, "a new key is known within a second"

    listed = platform("keys").out
    assert secret not in listed
    assert "60 req/min" in listed

    assert "revoked laptop" in platform("keys", "revoke", "laptop").err
    time.sleep(1.0)
    assert platform("chat", "Hi", ROADBED_API_KEY=secret).code == 6
    assert "laptop" not in platform("keys").out
    assert "revoked" in platform("keys", "-a").out


@pytest.mark.e2e
def test_a_key_for_another_model_is_forbidden_here(platform: Shell) -> None:
    made = platform("keys", "create", "narrow", "--model", "other", "--json").json()
    assert made["key"]["models"] == ["other"]
    assert platform("chat", "-m", "chat", "Hi", ROADBED_API_KEY=made["secret"]).code in (3, 6)
    assert platform("keys", "revoke", made["key"]["id"], "--json").json()["name"] == "narrow"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("create", "Bad Name"), 2),
        (("create", "x", "--scope", "admin"), 2),
        (("create", "x", "--expires", "soon"), 2),
        (("create", "x", "--rpm", "0"), 2),
        (("revoke", "nobody"), 3),
    ],
)
def test_wrong_usage(platform: Shell, args: tuple[str, ...], code: int) -> None:
    assert platform("keys", *args).code == code


@pytest.mark.e2e
def test_tenants(platform: Shell) -> None:
    assert "default" in platform("keys", "tenants").out
    assert "default" in [row["name"] for row in platform("keys", "tenants", "--json").json()["tenants"]]
    assert platform("keys", "list", "--tenant", "default", "--json").json()["keys"]
