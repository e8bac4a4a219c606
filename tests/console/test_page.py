"""The page in a real browser over a real platform: sign in, watch, chat, stop, and live through a restart of control."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadbed.control.client import ControlClient, read_platform
from roadbed.home import Home
from tests.console.browser import Browser, browser, find_browser
from tests.engine.conftest import smollm as smollm

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_browser() is None, reason="no browser (apt install chromium chromium-driver)"),
]
NASTY = "<b>bold</b><img src=x onerror=alert(1)>"


def roadbed(home: Home, *args: str) -> None:
    env = {**os.environ, "ROADBED_HOME": str(home.root)}
    done = subprocess.run(
        [sys.executable, "-m", "roadbed.cli", *args], env=env, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Home]:
    """A platform with the default model served once; gone at the end."""
    model: Path = request.getfixturevalue("smollm")
    home = Home(tmp_path_factory.mktemp("home"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # a port of its own, for a restarted control to come back to
    home.config.write_text(f"gateway: {{port: 0}}\ncontrol: {{port: {port}}}\n")
    try:
        roadbed(home, "up", "--empty")
        spec = {"kind": "service", "name": "chat", "model": f"file:{model}", "aliases": ["small"]}
        ControlClient.find(home).apply([spec])
        yield home
    finally:
        roadbed(home, "down")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.look(1280, 900)
        yield opened


@pytest.fixture
def page(home: Home, window: Browser) -> Browser:
    """The page, signed in, with a model to talk to."""
    window.open(f"{read_platform(home)['api_url']}/?token={home.admin_token.read_text().strip()}")
    window.until(lambda: "1 / 1 ready" in window.text("#services"))
    window.until(lambda: window.count("#model option") == 2)
    window.run("document.querySelector('#model').value = 'small'")
    window.console_errors()
    return window


def answers(page: Browser) -> int:
    """Answers that are complete."""
    return page.count(".said.model:not(.streaming) .fact")


def test_sign_in_by_hand(home: Home, window: Browser) -> None:
    url = str(read_platform(home)["api_url"])
    window.open(url)
    window.type("#token", "wrong\n")
    window.until(lambda: "That is not the token" in window.text("#wrong"))
    window.type("#token", home.admin_token.read_text())
    window.until(lambda: "Services" in window.text("#services"))
    assert window.url == f"{url}/"
    window.click("header form button")
    window.until(lambda: window.count("#token"))


def test_the_token_leaves_the_address_bar(home: Home, page: Browser) -> None:
    assert page.url == f"{read_platform(home)['api_url']}/"
    assert home.admin_token.read_text().strip() not in page.run("return document.documentElement.outerHTML")
    assert page.run("return document.cookie") == "", "the session is HttpOnly"


def test_a_chat_from_the_keyboard(page: Browser) -> None:
    page.type("#prompt", "Say hello.\n")
    page.until(lambda: answers(page) >= 4)
    assert page.text(".said.user") == "Say hello."
    assert page.text(".said.model .text").strip()
    facts = page.text(".facts")
    assert "TTFT " in facts
    assert "tokens" in facts
    assert "chat-0" in facts
    page.until(lambda: page.count("#routes .bars li") and "ok" in page.text("#outcomes"))
    page.until(lambda: page.count("#ttft-chart path.p50[d^=M]") == 1)
    assert page.console_errors() == [], "scripts and the content security policy get on"


def test_what_is_said_is_never_html(page: Browser) -> None:
    page.type("#prompt", NASTY + "\n")
    page.until(lambda: answers(page) >= 4)
    assert page.text(".said.user") == NASTY
    assert page.count("#talk img, #talk b") == 0


def test_copy_as_curl_is_a_command_that_works(home: Home, page: Browser) -> None:
    page.type("#prompt", "It's $HOME `x`\n")
    page.until(lambda: answers(page) >= 4)
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    page.click(".facts button")
    command = str(page.until(lambda: page.run("return window.copied")))
    key = ControlClient.find(home).create_key("curl")["secret"]
    env = {**os.environ, "ROADBED_API_KEY": key}
    short = command.replace('"stream":true', '"stream":true,"max_tokens":16')  # a small model may ramble for minutes
    assert short != command
    done = subprocess.run(["bash", "-c", f"sleep 0.5; {short}"], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("data: [DONE]")
    assert '"content":"It\'s $HOME `x`"' in command.replace("'\\''", "'")


def test_stop_ends_the_engines_work(home: Home, page: Browser) -> None:
    stopped = "return [...document.querySelectorAll('.facts')].some((facts) => facts.textContent.includes('stopped'))"
    streaming = "return document.querySelector('.said.streaming') !== null"
    for _ in range(8):  # a small model may be done before the button is reached: ask again
        page.type("#prompt", "Count from one to a thousand in words, one per line, and leave none out.\n")
        page.run("setTimeout(() => document.querySelector('#stop').click(), 300)")
        page.until(lambda: not page.run(streaming))
        if page.run(stopped):
            break
    assert page.run(stopped)
    client = ControlClient.find(home)
    page.until(lambda: client.live()["outcomes"].get("client_gone", 0) >= 1)
    page.until(lambda: [row["num_running"] for row in client.live()["replicas"]] == [0])


def test_a_restart_of_control_is_lived_through(home: Home, page: Browser) -> None:
    page.run("document.querySelector('#prompt').value = 'half a thought'")
    page.offline(True)  # a restart may be over between two beats: this outage lasts until it has been seen
    killed = int(read_platform(home)["pid"])
    os.kill(killed, signal.SIGKILL)
    page.until(lambda: page.text("#link") == "reconnecting")
    page.until(lambda: int(read_platform(home)["pid"]) != killed)
    page.offline(False)
    page.until(lambda: page.text("#link") == "live")
    assert page.run("return document.querySelector('#prompt').value") == "half a thought"
    page.until(lambda: "1 / 1 ready" in page.text("#services"))
    page.run("document.querySelector('#prompt').value = ''")
    page.type("#prompt", "Hello again.\n")
    page.until(lambda: answers(page) >= 4)


def test_updates_leave_focus_and_selection_alone(page: Browser) -> None:
    page.run("window.row = document.querySelector('#services tbody tr'); getSelection().selectAllChildren(window.row)")
    beats = "return performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/live')).length"
    before = page.run(beats)
    page.until(lambda: page.run(beats) >= before + 2)
    assert page.run("return window.row === document.querySelector('#services tbody tr')")
    assert page.run("return String(getSelection())").startswith("chat")


def test_tasks_and_their_devices_come_and_go_by_themselves(home: Home, page: Browser) -> None:
    client = ControlClient.find(home)
    need = {"cpu": 0.1, "memory": "8MiB", "accelerators": "cpu:0.5"}
    client.apply([{"kind": "task", "name": "half", "command": "echo I am here; sleep 60", "resources": need}])
    page.until(lambda: "running" in page.text("#tasks"))
    page.until(lambda: page.count("#pool .cell rect[class^=own]") == 1)
    assert "task half" in page.text("#pool .owners")
    assert "0.5 used" in page.text("#quotas")
    page.click("#tasks a")
    page.until(lambda: "I am here" in page.text("pre.log"))
    assert page.run(CONTRAST) == []
    page.run("history.back()")
    client.stop_task("half")
    page.until(lambda: "stopped" in page.text("#tasks"))
    page.until(lambda: page.count("#pool .cell rect[class^=own]") == 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_size_and_scheme_fits_and_contrasts(page: Browser, width: int, scheme: str) -> None:
    page.look(width, 844, scheme)
    try:
        page.type("#prompt", "Hi.\n")
        page.until(lambda: answers(page) >= 4)
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.run(CONTRAST) == []
    finally:
        page.look(1280, 900)


CONTRAST = """
const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
const lum = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const { rgb, a } = parse(getComputedStyle(at).backgroundColor);
    if (a === 1) return rgb;
  }
  return [255, 255, 255];
};
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".hidden, .skip, noscript")) continue;
  const style = getComputedStyle(element);
  const ink = element.closest("svg") ? style.fill : style.color;
  const [dark, light] = [lum(parse(ink).rgb), lum(ground(element))].sort((x, y) => x - y);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < 4.5) bad.push([walker.currentNode.data.trim(), element.className, ratio.toFixed(2)]);
}
return bad;
"""
"""Texts below WCAG AA's 4.5:1, as [text, class, ratio]."""


def test_everything_that_can_be_pressed_has_a_name(page: Browser) -> None:
    nameless = page.run(
        "return [...document.querySelectorAll('button, select, textarea, input, a, progress, [role=img], [role=region]')]"
        ".filter((e) => !(e.innerText || e.ariaLabel || e.getAttribute('aria-labelledby') || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []


def test_charts_read_out_a_moment_from_the_keyboard(page: Browser) -> None:
    page.until(lambda: page.text("#tokens-now") not in ("", "–"))
    page.run("document.querySelector('#tokens-chart').focus()")
    page.type("#tokens-chart", "\ue012")
    assert page.run("return document.querySelector('#tokens-chart .hair').getAttribute('visibility')") == "visible"
    page.type("#tokens-chart", "\ue00c")
    assert page.run("return document.querySelector('#tokens-chart .hair').getAttribute('visibility')") == "hidden"


def test_logs_hold_no_token(home: Home, page: Browser) -> None:
    token = home.admin_token.read_bytes().strip()
    logs = [path for path in home.logs.rglob("*") if path.is_file()]
    assert logs
    assert all(token not in path.read_bytes() for path in logs)
    assert token.decode() not in json.dumps(ControlClient.find(home).events(limit=1000))
