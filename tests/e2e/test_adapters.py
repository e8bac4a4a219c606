"""An adapter applied as a user would, on the real engine: a model of its own for clients, keys and usage."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform, until
from tests.engine.lora_file import write_lora

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SPEC = """
kind: service
name: tuned
model: smollm2-135m-instruct
engine: {{kind: llamacpp, context_tokens: 512, parallel: 2, threads: 1, adapters: [{{name: odd, source: {path}}}]}}
"""


def ask(platform: Platform, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {platform.key}", "content-type": "application/json"}
    request = urllib.request.Request(platform.gateway + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def test_an_adapter_is_a_model_for_clients_and_in_usage(own_platform: Callable[..., Platform], tmp_path: Path) -> None:
    platform = own_platform("--empty")
    file = write_lora(tmp_path / "odd.gguf", width=576, weight="blk.20.attn_output.weight")
    platform.run("apply", "-f", "-", "-y", stdin=SPEC.format(path=file))
    until(platform.healthy, 60, "a replica")
    listed = {model["id"]: model.get("parent") for model in ask(platform, "/v1/models")["data"]}
    assert listed["odd"] == "smollm2-135m-instruct"
    assert listed["tuned"] is None
    said = {}
    for model in ("tuned", "odd", "tuned"):
        body = {"model": model, "messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 8,
                "temperature": 0}  # fmt: skip
        said.setdefault(model, set()).add(
            ask(platform, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
        )
    assert len(said["tuned"]) == len(said["odd"]) == 1
    assert said["tuned"] != said["odd"]
    until(lambda: len(platform.usage_rows()) == 3, 20, "usage of all three")
    assert sorted(row["model"] for row in platform.usage_rows()) == ["odd", *["smollm2-135m-instruct"] * 2]
