"""What the OpenAPI document says exists, used to refuse what it does not: unknown query parameters, wrong methods.

A parameter nobody reads is a mistake nobody sees (`?limt=5`), so it is refused with a suggestion, like a wrong key of a
spec. The table is made from the document itself, so the two can't differ. Paths beside /api are none of its business.
"""

import difflib
import functools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from roadbed.errors import UsageError

Refuse = Callable[[UsageError], ASGIApp]


class RouteTable:
    """Paths, methods and query parameters of an OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._routes: list[tuple[re.Pattern[str], dict[str, frozenset[str]]]] = []
        # Paths without parameters first: /api/events/stream before /api/events/{…}.
        for path, operations in sorted(document["paths"].items(), key=lambda item: "{" in item[0]):
            if not path.startswith("/api/"):
                continue
            pattern = re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(path)) + r"\Z")
            self._routes.append((pattern, {method.upper(): _query(op) for method, op in operations.items()}))

    def methods(self, path: str) -> list[str]:
        """The methods of a path; empty when it is unknown."""
        return sorted(self._operations(path))

    def check_query(self, method: str, path: str, query: str) -> None:
        """Raises UsageError for a parameter the route does not have."""
        known = self._operations(path).get(method)
        if known is None:
            return
        for name, _ in parse_qsl(query, keep_blank_values=True):
            if name in known:
                continue
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            names = f"parameters are {', '.join(sorted(known))}" if known else "it has none"
            advice = f"did you mean {close[0]!r}?" if close else names
            raise UsageError(f"{name[:100]!r} is not a query parameter of {path}; {advice}", field=name[:100])

    def _operations(self, path: str) -> dict[str, frozenset[str]]:
        return next((operations for pattern, operations in self._routes if pattern.match(path)), {})


class StrictQuery:
    """Middleware: refuses requests whose query the table does not know."""

    def __init__(self, app: ASGIApp, table: Callable[[], RouteTable], refuse: Refuse) -> None:
        self._app = app
        self._table = functools.cache(table)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = self._app
        if scope["type"] == "http" and scope["query_string"]:
            try:
                query = scope["query_string"].decode("latin-1")
                self._table().check_query(scope["method"], scope["path"], query)
            except UsageError as error:
                target = self._refuse(error)
            except ValueError as error:  # more fields than the parser takes
                target = self._refuse(UsageError(f"the query is unreadable: {error}"))
        await target(scope, receive, send)


def _query(operation: dict[str, Any]) -> frozenset[str]:
    return frozenset(item["name"] for item in operation.get("parameters", ()) if item["in"] == "query")
