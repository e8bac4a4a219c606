"""Whose key, which gateway."""

from pathlib import Path

import pytest

from roadbed.cli import access
from roadbed.errors import AuthError, NotFoundError, UnreachableError, UsageError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ROADBED_URL", "ROADBED_TOKEN", "ROADBED_API_KEY", "ROADBED_GATEWAY_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROADBED_HOME", str(tmp_path))
    return tmp_path


class Names:
    """A gateway that serves these."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def models(self) -> list[str]:
        return self._names


def test_gateway_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError):
        access.gateway_url()
    monkeypatch.setenv("ROADBED_URL", "http://far:8001")
    with pytest.raises(UsageError) as caught:
        access.gateway_url()
    assert "ROADBED_GATEWAY_URL" in str(caught.value.hint)
    for text in ("http://far:8000", "http://far:8000/", "http://far:8000/v1", "http://far:8000/v1/"):
        monkeypatch.setenv("ROADBED_GATEWAY_URL", text)
        assert access.gateway_url() == "http://far:8000"


def test_the_users_key_comes_first_and_is_never_replaced(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "cli.key").write_text("rb_ours\n")
    assert access.CliKey().get() == "rb_ours"
    monkeypatch.setenv("ROADBED_API_KEY", "rb_theirs")
    key = access.CliKey()
    assert key.get() == "rb_theirs"
    with pytest.raises(AuthError, match="ROADBED_API_KEY"):
        key.renew()
    assert (home / "cli.key").read_text() == "rb_ours\n"


def test_without_a_platform_no_key_is_made(home: Path) -> None:
    with pytest.raises(UnreachableError):
        access.CliKey().get()
    assert not (home / "cli.key").exists()


def test_a_secret_is_written_whole_and_private(home: Path) -> None:
    path = home / "cli.key"
    path.write_text("old and much longer than what comes")
    path.chmod(0o644)
    access.write_secret(path, "rb_new")
    assert path.read_text() == "rb_new\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in home.iterdir()] == ["cli.key"]


def test_choose_model() -> None:
    gateway = Names("smollm2", "chat")
    assert access.choose_model(gateway, None) == "smollm2"  # type: ignore[arg-type]
    assert access.choose_model(gateway, "chat") == "chat"  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="did you mean 'chat'"):
        access.choose_model(gateway, "chatt")  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="nothing is served"):
        access.choose_model(Names(), None)  # type: ignore[arg-type]
