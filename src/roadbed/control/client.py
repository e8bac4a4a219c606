"""The control API from Python with the standard library alone: CLI and console start fast and need nothing else.

Answers are plain dicts as the API sends them (see its OpenAPI). Errors come back as the exception they were on the
server. The trade-off of http.client is one blocking request at a time, which is what a command line does.
"""

import http.client
import json
import os
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from roadbed import __version__
from roadbed.errors import AuthError, RoadbedError, UnreachableError, UsageError
from roadbed.home import Home, find_home

TIMEOUT_S = 30.0
_PATH = "/api"


class VersionSkew(UserWarning):
    """Client and server are of different versions."""


class ControlClient:
    """Talks to one control plane. Not thread-safe; use one per thread."""

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S, remote: bool = False) -> None:
        """`remote`: errors name the URL instead of telling to run `roadbed up`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is not the URL of a control plane", hint="export ROADBED_URL=http://HOST:8001")
        self.url = url.rstrip("/")
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._remote = remote

    @classmethod
    def find(cls, home: Home | None = None, *, timeout_s: float = TIMEOUT_S) -> Self:
        """ROADBED_URL and ROADBED_TOKEN, else the platform of the home. Raises UnreachableError, AuthError."""
        url, token = os.environ.get("ROADBED_URL"), os.environ.get("ROADBED_TOKEN")
        place = find_home() if home is None else home
        if url:
            return cls(url, token or _read_token(place), timeout_s=timeout_s, remote=True)
        return cls(str(read_platform(place)["api_url"]), token or _read_token(place), timeout_s=timeout_s)

    # platform

    def version(self, *, check: bool = True) -> dict[str, Any]:
        """What runs there; warns (VersionSkew) when it is not what runs here."""
        said = self._get("/version")
        if check and said["version"] != __version__:
            other = f"server {said['version']}, client {__version__}"
            advice = "upgrade the older one" if self._remote else "run: roadbed down && roadbed up"
            warnings.warn(f"versions differ ({other}); {advice}", VersionSkew, stacklevel=2)
        return said

    def health(self) -> dict[str, Any]:
        return self._get("/health")

    def status(self) -> dict[str, Any]:
        return self._get("/status")

    def live(self, window_s: float = 60.0) -> dict[str, Any]:
        return self._get("/live", window_s=window_s)

    # wishes

    def plan(self, specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What applying these documents would change."""
        plans: list[dict[str, Any]] = self._call("POST", "/plan", {"specs": specs})["plans"]
        return plans

    def apply(self, specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Stores all or none; a key just made has its `secret` in its entry."""
        applied: list[dict[str, Any]] = self._call("POST", "/apply", {"specs": specs})["applied"]
        return applied

    def services(self) -> list[dict[str, Any]]:
        return self._list("/services", "services")

    def service(self, name: str) -> dict[str, Any]:
        return self._get(f"/services/{quote(name, safe='')}")

    def delete_service(self, name: str) -> dict[str, Any]:
        return self._call("DELETE", f"/services/{quote(name, safe='')}")

    def scale(self, name: str, replicas: int | str) -> dict[str, Any]:
        """`replicas`: a number, or "auto" to let load decide again."""
        return self._call("POST", f"/services/{quote(name, safe='')}/scale", {"replicas": replicas})

    def explain(self, name: str, *, events: int = 50) -> dict[str, Any]:
        return self._get(f"/services/{quote(name, safe='')}/explain", events=events)

    def replicas(self, service: str | None = None) -> list[dict[str, Any]]:
        return self._list("/replicas", "replicas", service=service)

    # access

    def tasks(self, *, everything: bool = True, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest, oldest submission first."""
        return self._list("/tasks", "tasks", all=str(everything).lower(), limit=limit)

    def task(self, name: str) -> dict[str, Any]:
        return self._get(f"/tasks/{quote(name, safe='')}")

    def stop_task(self, name: str) -> dict[str, Any]:
        return self._call("POST", f"/tasks/{quote(name, safe='')}/stop")

    def delete_task(self, name: str) -> dict[str, Any]:
        return self._call("DELETE", f"/tasks/{quote(name, safe='')}")

    def explain_task(self, name: str, *, events: int = 50) -> dict[str, Any]:
        return self._get(f"/tasks/{quote(name, safe='')}/explain", events=events)

    def queue(self) -> list[dict[str, Any]]:
        return self._list("/queue", "queue")

    def quotas(self) -> list[dict[str, Any]]:
        return self._list("/quotas", "quotas")

    def delete_quota(self, name: str) -> dict[str, Any]:
        return self._call("DELETE", f"/quotas/{quote(name, safe='')}")

    def nodes(self) -> list[dict[str, Any]]:
        return self._list("/nodes", "nodes")

    def cordon(self, name: str, *, on: bool = True, drain: bool = False, risk: float | None = None) -> dict[str, Any]:
        body = {"on": on, "drain": drain, "risk": risk}
        return self._call("POST", f"/nodes/{quote(name, safe='')}/cordon", body)

    def tenants(self) -> list[dict[str, Any]]:
        return self._list("/tenants", "tenants")

    def put_tenant(self, name: str, limits: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._call("POST", "/tenants", {"name": name, "limits": limits or {}})

    def delete_tenant(self, name: str) -> None:
        self._call("DELETE", f"/tenants/{quote(name, safe='')}")

    def api_keys(self, *, tenant: str | None = None, revoked: bool = False) -> list[dict[str, Any]]:
        return self._list("/keys", "keys", tenant=tenant, revoked=str(revoked).lower())

    def create_key(self, name: str, **fields: Any) -> dict[str, Any]:
        """`fields`: tenant, scopes, models, expires_in (s), limits. Returns {"key", "secret"}."""
        return self._call("POST", "/keys", {"name": name, **fields})

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return self._call("DELETE", f"/keys/{quote(key_id, safe='')}")

    def usage(self, by: list[str], **filters: Any) -> dict[str, Any]:
        """`filters`: since, until (Unix seconds), tenant, key (id)."""
        return self._get("/usage", by=by, **filters)

    # what happens

    def events(self, **filters: Any) -> dict[str, Any]:
        """`filters`: after, limit, noun, name, newest. Returns {"events", "next"}."""
        newest = filters.pop("newest", None)
        return self._get("/events", newest=None if newest is None else str(newest).lower(), **filters)

    def stream_events(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Events as they happen, for ever; `filters` as for `events`."""
        for line in self._lines("/events/stream", filters):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def logs(self, process: str, *, num_bytes: int = 65_536, follow: bool = False) -> Iterator[bytes]:
        """Output of a process in pieces; with `follow` until it ends."""
        path = f"/processes/{quote(process, safe='')}/logs"
        with self._open("GET", path, query={"bytes": num_bytes, "follow": str(follow).lower()}) as response:
            while chunk := response.read1(65_536):
                yield chunk

    def models(self) -> list[dict[str, Any]]:
        return self._list("/models", "models")

    def pull_model(self, model: str) -> dict[str, Any]:
        """Begins fetching in the background; see `models` and `events`."""
        return self._call("POST", "/models/pull", {"model": model})

    # inside

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._call("GET", path, query=query)

    def _list(self, path: str, field: str, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._get(path, **query)[field]
        return rows

    def _call(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> dict[str, Any]:
        with self._open(method, path, body, query) as response:
            try:
                content = response.read()
                answer: dict[str, Any] = json.loads(content) if content else {}
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            except ValueError as error:
                raise self._stranger() from error
            return answer

    def _lines(self, path: str, query: dict[str, Any]) -> Iterator[bytes]:
        with self._open("GET", path, query=query) as response:
            while line := response.readline():
                yield line.rstrip(b"\r\n")

    def _open(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> "_Response":
        """The response of a request that was answered 2xx; raises the error it was answered with otherwise."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{self._prefix}{_PATH}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, target, body=content, headers=headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise self._error(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise
        return _Response(connection, response)

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _error(self, status: int, content: bytes) -> RoadbedError:
        try:
            said = json.loads(content)["error"]
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            return self._stranger(f" (HTTP {status})")
        kind = next((kind for kind in _all_errors(RoadbedError) if kind.code == code), RoadbedError)
        return kind(message, hint=said.get("hint"), field=said.get("field"))

    def _unreachable(self, error: Exception) -> UnreachableError:
        slow = isinstance(error, socket.timeout)
        reason = f"no answer within {self._timeout_s:g} s" if slow else str(error) or type(error).__name__
        hint = f"curl {self.url}/api/health" if self._remote else "roadbed up"
        return UnreachableError(f"no control plane answers at {self.url}: {reason}", hint=hint)

    def _stranger(self, what: str = "") -> UnreachableError:
        return UnreachableError(
            f"what answers at {self.url} is no Roadbed control plane{what}", hint=f"curl {self.url}/api/version"
        )


class _Response:
    """A response and its connection, closed together."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self.read = response.read
        self.read1 = response.read1
        self.readline = response.readline
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()


def read_platform(home: Home) -> dict[str, Any]:
    """run/platform.json: pid, api_url, gateway_url, version. Raises UnreachableError when there is no platform."""
    path = home.run / "platform.json"
    try:
        said = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UnreachableError(f"no platform runs in {home.root}", hint="roadbed up") from None
    except ValueError as error:
        raise UnreachableError(f"{path} is unreadable: {error}", hint="roadbed down && roadbed up") from error
    if not isinstance(said, dict) or "api_url" not in said:
        raise UnreachableError(f"{path} does not say where the platform is", hint="roadbed down && roadbed up")
    return said


def _read_token(home: Home) -> str:
    path: Path = home.admin_token
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        raise AuthError(f"there is no admin token in {home.root}", hint="export ROADBED_TOKEN=…") from None
    except PermissionError:
        raise AuthError(f"{path} is not yours to read", hint="export ROADBED_TOKEN=…") from None


def _all_errors(kind: type[RoadbedError]) -> Iterator[type[RoadbedError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all_errors(child)


__all__ = ["ControlClient", "VersionSkew", "read_platform"]
