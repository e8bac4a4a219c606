from pathlib import Path

import pytest

from roadbed.engine.lora import hub_or_path, local_path
from roadbed.errors import EngineError
from roadbed.spec.service import Adapter


def test_a_path_is_made_absolute_and_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "law.gguf"
    file.write_bytes(b"GGUF")
    for source in (str(file), f"file:{file}"):
        assert local_path(Adapter(name="law", source=source), folder=False) == str(file)
    with pytest.raises(EngineError, match="law: there is no GGUF file at /nowhere") as caught:
        local_path(Adapter(name="law", source="/nowhere"), folder=False)
    assert caught.value.hint == "ls -l /nowhere"
    with pytest.raises(EngineError, match=r"no folder with adapter_config\.json"):
        local_path(Adapter(name="law", source=str(file)), folder=True)


def test_vllm_fetches_from_the_hub_itself(tmp_path: Path) -> None:
    assert hub_or_path(Adapter(name="law", source="hf:org/law-lora")) == "org/law-lora"
    assert hub_or_path(Adapter(name="law", source=str(tmp_path))) == str(tmp_path)
