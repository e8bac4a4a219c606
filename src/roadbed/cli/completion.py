"""One streamed chat completion with the standard library: what `chat` needs of an OpenAI client, and its timings.

Blocking, one connection per answer; closing it early stops the answer, and the gateway then stops the engine.
"""

import http.client
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from roadbed.errors import (
    AuthError,
    EngineError,
    ForbiddenError,
    NoCapacityError,
    NotFoundError,
    RoadbedError,
    UnreachableError,
    UsageError,
)

TIMEOUT_S = 600.0
_KINDS: dict[int, type[RoadbedError]] = {
    400: UsageError, 401: AuthError, 403: ForbiddenError, 404: NotFoundError, 413: UsageError, 422: UsageError,
    429: NoCapacityError, 503: NoCapacityError,
}  # fmt: skip


@dataclass
class Answer:
    """What came of one request; filled while it streams. Times in seconds."""

    model: str = ""
    replica: str = ""
    route: str = ""
    request_id: str = ""
    content: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    ttft_s: float | None = None
    total_s: float = 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first."""
        tokens = self.usage.get("completion_tokens", 0)
        if self.ttft_s is None or tokens < 2 or self.total_s <= self.ttft_s:
            return None
        return float((tokens - 1) / (self.total_s - self.ttft_s))

    def to_dict(self) -> dict[str, Any]:
        """Fields of `chat --json`."""
        rate = self.tokens_per_s
        return {
            "model": self.model,
            "content": self.content,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "replica": self.replica,
            "route": self.route,
            "request_id": self.request_id,
            "ttft_s": None if self.ttft_s is None else round(self.ttft_s, 4),
            "total_s": round(self.total_s, 4),
            "tokens_per_s": None if rate is None else round(rate, 2),
        }


class Gateway:
    """Asks one gateway with one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is not the URL of a gateway", hint="export ROADBED_GATEWAY_URL=http://HOST:8000")
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def models(self) -> list[str]:
        """Names one may ask for."""
        connection, response = self._ask("GET", "/v1/models", None)
        try:
            return [str(row["id"]) for row in json.loads(response.read())["data"]]
        finally:
            connection.close()

    def chat(self, body: dict[str, Any], answer: Answer) -> Generator[str, None, None]:
        """Sends `body` as a stream and yields its text; `answer` is filled as it comes.

        Raises the error of the HTTP status, EngineError for one inside the stream.
        """
        begun = time.monotonic()
        request = {**body, "stream": True, "stream_options": {"include_usage": True}}
        connection, response = self._ask("POST", "/v1/chat/completions", request)
        try:
            answer.model = str(body["model"])
            answer.replica = response.headers.get("x-roadbed-replica", "")
            answer.route = response.headers.get("x-roadbed-route", "")
            answer.request_id = response.headers.get("x-request-id", "")
            for event in _events(response):
                answer.total_s = time.monotonic() - begun
                text = _take(event, answer)
                if text:
                    answer.ttft_s = answer.total_s if answer.ttft_s is None else answer.ttft_s
                    answer.content += text
                    yield text
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(
                f"the answer broke off: {error or type(error).__name__}", hint="roadbed ps"
            ) from error
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        connection = self._kind(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, self._prefix + path, body=content, headers=headers)
            response = connection.getresponse()
            if response.status == 200:
                return connection, response
            raise refusal(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnreachableError(f"no gateway answers at {self.url}: {error}", hint="roadbed status") from error
        except RoadbedError:
            connection.close()
            raise


def refusal(status: int, content: bytes) -> RoadbedError:
    """The exception for an HTTP error in OpenAI's shape."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the gateway answered {status}"
    kind = _KINDS.get(status, EngineError)
    hints = {401: "roadbed keys", 403: "roadbed keys", 404: "roadbed ps", 429: "roadbed ps", 503: "roadbed ps"}
    return kind(message, hint=hints.get(status))


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Data of each server-sent event until [DONE]; one that is cut off raises."""
    while line := response.readline():
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data:"):
            yield json.loads(line[5:])
    raise http.client.IncompleteRead(b"")


def _take(event: dict[str, Any], answer: Answer) -> str:
    """Text of one event; its usage and end go to the answer."""
    if "error" in event:
        raise EngineError(str(event["error"].get("message")), hint=f"roadbed logs {answer.replica or 'gateway-0'}")
    answer.usage = event.get("usage") or answer.usage
    for choice in event.get("choices") or ():
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        return str((choice.get("delta") or {}).get("content") or "")
    return ""
