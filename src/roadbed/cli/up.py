"""`roadbed up`: from nothing to a served model.

First time: fetch the default model, start, make the tenant `default`, the service `chat` and a key that is shown once.
Later: start what was there. Twice: say so.
"""

import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from roadbed.cli.base import age, json_option, print_json, progress, show_error, talk
from roadbed.cli.follow import POLL_S, Follower
from roadbed.errors import ConflictError, RoadbedError, RuntimeFailure, UnreachableError

if TYPE_CHECKING:
    from roadbed.control.client import ControlClient
    from roadbed.home import Home

DEFAULT_MODEL = "smollm2-135m-instruct"
START_TIMEOUT_S = 60.0
NUM_CONTROL_DEATHS = 2
"""One death may be bad luck."""


@click.command("up")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model of the first service.")
@click.option("--replicas", default=1, show_default=True, type=click.IntRange(1, 64), help="Replicas of it.")
@click.option("--empty", is_flag=True, help="Start without a service.")
@click.option("--wait", "wait_s", default=300.0, show_default=True, help="Seconds to wait until it answers; 0 = don't.")
@json_option
def command(model: str, replicas: int, empty: bool, wait_s: float, as_json: bool) -> None:
    """Start the platform on this machine.

    \b
      roadbed up                    with the default model
      roadbed up --replicas 2
      roadbed up --empty            nothing served yet; then: roadbed apply -f FILE
    """
    from roadbed.home import find_home
    from roadbed.runtime.local.client import start_agent
    from roadbed.spec.load import load_config

    begun = time.monotonic()
    home = find_home()
    home.create()
    load_config(home.config)
    _refuse_second(home)
    fresh = not home.database.exists()
    if fresh and not empty:
        _fetch(home, model)
    home.run.joinpath("platform.json").unlink(missing_ok=True)
    start_agent(home, [sys.executable, "-m", "roadbed.cli", "_control", "--home", str(home.root)])
    control = _wait_for_control(home)
    follower = Follower(control)
    secret = None
    if not control.tenants():
        secret = _first_wishes(control, model, replicas, empty)
    ready = _wait_until_ready(home, control, follower, wait_s) if wait_s > 0 else False
    _tell(home, control, secret, ready, time.monotonic() - begun, as_json)


def _refuse_second(home: "Home") -> None:
    from roadbed.runtime.local.client import SyncAgent

    with contextlib.suppress(UnreachableError):
        info = SyncAgent(home).ping()
        raise ConflictError(f"a platform already runs in {home.root} (agent pid {info.pid})", hint="roadbed status")


def _fetch(home: "Home", model: str) -> None:
    """Fetches before anything starts, so that a missing network is the first thing one hears of."""
    from roadbed.models.catalogue import expected_sha256, resolve
    from roadbed.models.store import ModelStore

    source = resolve(model)
    store = ModelStore(home.models)
    if store.get(source) is not None:
        return
    talk(f"fetching {model} from {source}")
    with progress(model) as tell:
        found = store.pull(
            source, expected_sha256(model), progress=lambda p: tell(p.done_bytes, p.total_bytes, p.phase)
        )
    talk(f"fetched {found.size_bytes / 1e6:.1f} MB, {found.digest[:19]}…")


def _wait_for_control(home: "Home") -> "ControlClient":
    """The control plane, once it answers. One that keeps dying is quoted, and its agent stopped: nothing is left."""
    from roadbed.control.client import ControlClient
    from roadbed.runtime.local.client import SyncAgent
    from roadbed.runtime.local.logs import tail

    agent = SyncAgent(home)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            control = ControlClient.find(home)
            control.health()
            return control
        except RoadbedError:
            if agent.ping().num_control_restarts >= NUM_CONTROL_DEATHS:
                break
            time.sleep(POLL_S / 2)
    words, hint = last_words(tail(home.logs / "control", 16_384).decode("utf-8", "replace"))
    agent.shutdown()
    raise RuntimeFailure(f"the control plane did not start: {words}", hint=hint or "roadbed logs control")


def last_words(log: str) -> tuple[str, str]:
    """What a process said last that reads as an error, and the hint that follows it."""
    words, hint = "", ""
    for line in (line.strip() for line in log.splitlines()):
        if line.startswith("error["):
            words, hint = line.partition(": ")[2], ""
        elif line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
        elif line and not words:
            hint = ""
    return words or log.strip().rpartition("\n")[2] or "it left no word", hint


def _first_wishes(control: "ControlClient", model: str, replicas: int, empty: bool) -> str:
    """Tenant, service and key of a new platform; returns the key's text."""
    control.put_tenant("default")
    if not empty:
        control.apply([{"kind": "service", "name": "chat", "model": model, "replicas": replicas}])
    secret: str = control.create_key("default")["secret"]
    return secret


def _gateway_answers(home: "Home") -> bool:
    """Whether the data plane takes connections: its process runs a moment before it listens."""
    import socket
    from urllib.parse import urlsplit

    from roadbed.control.client import read_platform

    where = urlsplit(read_platform(home)["gateway_url"])
    try:
        socket.create_connection((where.hostname or "", where.port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def _wait_until_ready(home: "Home", control: "ControlClient", follower: Follower, wait_s: float) -> bool:
    """Follows what happens until every service is there and the gateway answers for it. A service that can't be is no
    reason to take the others away: what is wrong with it is said, and the platform stays up."""
    from roadbed.control.client import read_platform

    deadline = time.monotonic() + wait_s
    names = [service["name"] for service in control.services()]
    try:
        follower.until_ready(names, wait_s)
    except RoadbedError as error:
        show_error(error)
        return False
    url = str(read_platform(home)["gateway_url"])
    while time.monotonic() < deadline:
        if control.status()["healthy"] and gateway_answers(url, "/ready" if names else "/health"):
            return True
        time.sleep(POLL_S)
    return False


def gateway_answers(url: str, path: str) -> bool:
    """Whether a worker says 200 there: /ready means that it has heard of a replica. Its certificate is not our matter:
    no key is sent."""
    import http.client
    import ssl
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    place, port = parts.hostname or "", parts.port or 0
    connection = http.client.HTTPConnection(place, port, timeout=2.0)
    if parts.scheme == "https":
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(place, port, timeout=2.0, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False  # not listening yet: the caller asks again
    finally:
        connection.close()


def _tell(
    home: "Home", control: "ControlClient", secret: str | None, ready: bool, took_s: float, as_json: bool
) -> None:
    from roadbed.control.client import read_platform

    platform = read_platform(home)
    services = control.services()
    facts: dict[str, Any] = {
        "console_url": platform["api_url"],
        "gateway_url": platform["gateway_url"],
        "home": str(home.root),
        "api_key": secret,
        "ready": ready,
        "services": [service["name"] for service in services],
        "took_s": round(took_s, 2),
    }
    if as_json:
        print_json(facts)
        return
    talk(f"{'ready' if ready else 'started'} in {took_s:.1f} s, state in {home.root}")
    click.echo(f"console   {platform['api_url']}/?token={home.admin_token.read_text().strip()}")
    click.echo(f"API       {platform['gateway_url']}/v1")
    if secret is not None:
        click.echo(f"API key   {secret}   (shown once)")
    model = services[0]["spec"]["model"] if services else "MODEL"
    roadbed = "roadbed" if shutil.which("roadbed") else ".venv/bin/roadbed"
    shown_key = secret or "$ROADBED_API_KEY"
    click.echo("\ntry:")
    click.echo(f'  {roadbed} chat "What is a data centre?"')
    click.echo(
        f'  curl {platform["gateway_url"]}/v1/chat/completions -H "authorization: Bearer {shown_key}" '
        f"""-d '{{"model":"{model}","messages":[{{"role":"user","content":"Hello!"}}]}}'"""
    )
    click.echo(f"  {roadbed} ps && {roadbed} usage")
    if not ready and services:
        waiting = age(time.time() - took_s)
        talk(f"not ready after {waiting}; see: {roadbed} explain {services[0]['name']}")
