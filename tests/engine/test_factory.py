import subprocess
import sys

import pytest

from roadbed.engine import create
from roadbed.errors import UsageError
from roadbed.spec.service import LlamaCppEngine, OpenAIEngine, VllmEngine


@pytest.mark.parametrize("spec", [LlamaCppEngine(), VllmEngine(), OpenAIEngine(urls=["http://127.0.0.1:1"])])
def test_each_kind_has_its_adapter(spec: LlamaCppEngine | VllmEngine | OpenAIEngine) -> None:
    assert create(spec).kind == spec.kind


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="llamacpp, vllm, openai"):
        create(LlamaCppEngine.model_construct(kind="sglang"))


def test_asking_for_one_adapter_loads_no_engine() -> None:
    script = """
import sys
from roadbed.engine import create
from roadbed.spec.service import LlamaCppEngine
create(LlamaCppEngine())
print([name for name in ("xllamacpp", "zmq", "roadbed.engine.vllm") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"
