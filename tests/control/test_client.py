"""The client when things are not as they should be: no server, a stranger, a silent one, files that say nothing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roadbed.control.client import ControlClient, read_platform
from roadbed.errors import AuthError, RoadbedError, UnreachableError, UsageError
from roadbed.home import Home


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A server that says `answer` to one connection and hangs up; None = it says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(10.0)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http("200 OK", b"<html>"), "is no Roadbed control plane"),
        (http("502 Bad Gateway", b"<html>"), r"is no Roadbed control plane \(HTTP 502\)"),
        (http("404 Not Found", b'{"detail": "no"}'), r"is no Roadbed control plane \(HTTP 404\)"),
        (b"SSH-2.0\r\n", "no control plane answers"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "no control plane answers"),
        (b"", "no control plane answers"),
    ],
)
def test_strangers(answer: bytes, said: str) -> None:
    with answering(answer) as url, pytest.raises(UnreachableError, match=said):
        ControlClient(url, "t").services()


def test_silence_and_absence() -> None:
    with answering(None) as url, pytest.raises(UnreachableError, match=r"no answer within 0\.1 s"):
        ControlClient(url, "t", timeout_s=0.1).services()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnreachableError) as caught:
        ControlClient(url, "t").services()
    assert caught.value.hint == "roadbed up"
    with pytest.raises(UnreachableError) as caught:
        ControlClient(url, "t", remote=True).services()
    assert caught.value.hint == f"curl {url}/api/health"


def test_errors_of_a_code_we_do_not_know_stay_errors() -> None:
    body = b'{"error": {"code": "E_NEW", "message": "from the future", "field": null, "hint": "upgrade"}}'
    with answering(http("418 Teapot", body)) as url, pytest.raises(RoadbedError, match="from the future") as caught:
        ControlClient(url, "t").services()
    assert type(caught.value) is RoadbedError
    assert caught.value.hint == "upgrade"


@pytest.mark.parametrize("url", ["", "localhost:8001", "ftp://x", "http://"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a control plane"):
        ControlClient(url, "t")


def test_platform_files_that_say_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    path = home.run / "platform.json"
    for content, said in (("{", "is unreadable"), ("[]", "does not say where"), ("{}", "does not say where")):
        path.write_text(content)
        with pytest.raises(UnreachableError, match=said):
            read_platform(home)
    path.write_text('{"api_url": "http://127.0.0.1:1"}')
    with pytest.raises(AuthError, match="there is no admin token"):
        ControlClient.find(home)
    home.admin_token.write_text("t\n")
    assert ControlClient.find(home).url == "http://127.0.0.1:1"
