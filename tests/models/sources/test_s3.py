import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from obstore.store import LocalStore

from roadbed.errors import ModelSourceError
from roadbed.models.sources import s3
from roadbed.models.sources.base import S3Source

DATA = bytes(range(256)) * (80 * 1024)  # 20 MiB: three parts


class Bucket(BaseHTTPRequestHandler):
    """HEAD and ranged GET of one object, as S3 answers them."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self._answer(DATA[int(first) : int(last) + 1], f"bytes {first}-{last}/{len(DATA)}")

    def _answer(self, body: bytes, content_range: str | None = None) -> None:
        known = self.path == "/models-here/a/m.gguf"
        self.send_response((206 if content_range else 200) if known else 404)
        self.send_header("Content-Length", str((len(body) if content_range else len(DATA)) if known else 0))
        self.send_header("ETag", '"v1"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if known:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "here")
        yield
        server.shutdown()
        thread.join()


def test_an_object_arrives_in_parts(endpoint: None, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = s3.fetch(S3Source("models-here", "a/m.gguf"), tmp_path, lambda done, total: seen.append((done, total)))
    assert found.name == "m.gguf"
    assert found.read_bytes() == DATA
    assert [done for done, _ in seen] == [0, 8 * 2**20, 16 * 2**20, 20 * 2**20]
    assert {total for _, total in seen} == {len(DATA)}


def test_a_missing_object_is_said_so(endpoint: None, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="s3://models-here/none") as caught:
        s3.fetch(S3Source("models-here", "none"), tmp_path, lambda *_: None)
    assert "AWS_" in (caught.value.hint or "")


def test_goes_on_where_it_stopped_unless_the_object_changed(tmp_path: Path) -> None:
    bucket, staging = tmp_path / "bucket", tmp_path / "staging"
    bucket.mkdir()
    staging.mkdir()
    (bucket / "m.gguf").write_bytes(DATA)
    store = LocalStore(str(bucket))

    def stop_late(done: int, total: int | None) -> None:
        if done >= 16 * 2**20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        s3.fetch_object(store, "m.gguf", staging, stop_late)
    starts: list[int] = []
    assert s3.fetch_object(store, "m.gguf", staging, lambda done, _: starts.append(done)).read_bytes() == DATA
    assert starts[0] == 16 * 2**20
    (bucket / "m.gguf").write_bytes(DATA[::-1])
    starts.clear()
    assert s3.fetch_object(store, "m.gguf", staging, lambda done, _: starts.append(done)).read_bytes() == DATA[::-1]
    assert starts[0] == 0
