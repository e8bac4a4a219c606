"""A real browser, driven over the WebDriver protocol: a few JSON requests, so no library is needed.

Debian's chromium and chromedriver (apt install chromium chromium-driver); tests skip where they are not installed.
"""

import base64
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

WITHIN_S = 30.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip

T = TypeVar("T")


def find_browser() -> tuple[str, str] | None:
    """Paths of chromium and chromedriver, if both are installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return None if chromium is None or driver is None else (chromium, driver)


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._session = session

    def open(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._do("GET", "/url"))

    def run(self, script: str, *args: Any) -> Any:
        """The value a function body returns in the page."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(args)})

    def text(self, selector: str) -> str:
        """Visible text of the first match; empty when there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def count(self, selector: str) -> int:
        return int(self.run("return document.querySelectorAll(arguments[0]).length", selector))

    def type(self, selector: str, text: str) -> None:
        """Presses the keys of `text` in an element."""
        self._do("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        self._do("POST", f"/element/{self._find(selector)}/click", {})

    def devtools(self, command: str, **params: Any) -> Any:
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Sets the size of the page and its colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def offline(self, cut: bool) -> None:
        """Cuts the page off from every server, or connects it again."""
        self.devtools("Network.enable")
        self.devtools(
            "Network.emulateNetworkConditions", offline=cut, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def screenshot(self) -> bytes:
        """PNG of the window."""
        return base64.b64decode(self._do("GET", "/screenshot"))

    def console_errors(self) -> list[str]:
        """Errors of scripts and of the content security policy since the last call."""
        entries = self._do("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def until(self, condition: Callable[[], T]) -> T:
        deadline = time.monotonic() + WITHIN_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {WITHIN_S} s; the page says: {self.text('body')[:2000]}"
            time.sleep(0.05)
        return value

    def quit(self) -> None:
        self._do("DELETE", "")

    def _find(self, selector: str) -> str:
        found = self._do("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        return call(self._port, method, f"/session/{self._session}{path}", body)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; gone, with all its processes, at the end."""
    found = find_browser()
    assert found is not None
    chromium, driver = found
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_ready(port)
        options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        made = call(port, "POST", "/session", {"capabilities": wanted})
        window = Browser(port, made["sessionId"])
        try:
            yield window
        finally:
            window.quit()
    finally:
        process.terminate()
        process.wait(WITHIN_S)


def call(port: int, method: str, path: str, body: Any = None) -> Any:
    """One WebDriver command. Fails with what the driver said."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())["value"]
        assert response.status == 200, f"{method} {path}: {value}"
        return value
    finally:
        connection.close()


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if call(port, "GET", "/status")["ready"]:
                return
        except OSError:
            assert time.monotonic() < deadline, "chromedriver does not answer"
        time.sleep(0.05)
