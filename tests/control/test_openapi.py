"""schemathesis over the control API: whatever is sent, what comes back is what the document says."""

import asyncio
import copy
import tempfile
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from roadbed.control.app import create_app
from roadbed.control.store import open_store
from roadbed.home import Home
from tests.control.harness import TOKEN, World

load_all_checks()

_FOLDER = tempfile.TemporaryDirectory(prefix="rb-openapi-")
_WORLD = World(
    open_store(None, Path(_FOLDER.name) / "roadbed.db"), Home(Path(_FOLDER.name) / "home"), asyncio.new_event_loop()
)
_APP = create_app(_WORLD.state)


def _document() -> dict[str, Any]:
    """The document without its security: every request here carries the token (test_routes.py has those that don't).

    Left in, schemathesis would count a request whose token it took away as wrong, and we put it back.
    """
    document = copy.deepcopy(_APP.openapi())
    document["components"].pop("securitySchemes")
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return document


schema = schemathesis.openapi.from_dict(_document())
schema.app = _APP
# Two routes stream for ever by design; test_main.py reads them over a real socket.
ordinary = schema.exclude(path="/api/events/stream")


@ordinary.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_documented(case: schemathesis.Case) -> None:
    if case.query.get("follow") not in (None, "false", False):
        case.query["follow"] = "false"
    # A spec's meaning goes beyond JSON Schema (a model must be known), so valid JSON may rightly be refused.
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[positive_data_acceptance])


def teardown_module() -> None:
    _WORLD.close()
    _WORLD.store.close()
    _FOLDER.cleanup()
