"""What the fabric's commands share: which network is meant, and files in and out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from roadbed.errors import NotFoundError, SpecError, UsageError
from roadbed.fabric import recipe, registry
from roadbed.fabric.base import Fabric

MAX_BYTES = 1 << 28
"""Of a file that describes a network; SimAI's of 122,880 GPUs has 20 MB."""


class Setting(click.ParamType[tuple[str, str]]):
    """`key=value`."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, given = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is not key=value", param, ctx)
        return key.strip(), given.strip()


def as_settings(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Options `--set a=1 --set b=2` as one mapping; the last of a key holds."""
    return dict(value)


gpus_option = click.option("--gpus", type=click.IntRange(1, 1 << 20), help="How many GPUs, in whole servers.")
set_option = click.option(
    "--set", "settings", type=Setting(), multiple=True, callback=as_settings, help="One count of it, such as planes=1."
)


def fabric_options(command: Callable[..., None]) -> Callable[..., None]:
    """--fabric, --gpus and --set, as keyword arguments fabric, gpus and settings for load_fabric."""
    fabric = click.option(
        "--fabric", default="hpn7", show_default=True, metavar="NAME|FILE", help="A family of networks, or a file."
    )
    return fabric(gpus_option(set_option(command)))


def find_family(name_or_file: str) -> bool:
    """Whether this is a family's name, not a file's."""
    return name_or_file.replace("-", "_") in registry.FAMILIES


def load_fabric(name_or_file: str, *, gpus: int | None, settings: Mapping[str, str]) -> Fabric:
    """The network of a family's name or of a file (recipe, hand-written, SimAI). Errors name a parameter or a line."""
    if find_family(name_or_file):
        return registry.build(name_or_file.replace("-", "_"), gpus=gpus, **settings)
    path = Path(name_or_file)
    if not path.exists() and not path.suffix and path.parent == Path():
        registry.find(name_or_file)  # raises, with what was probably meant
    return recipe.read(read_text(path), str(path), gpus=gpus, settings=settings)


def read_text(path: Path) -> str:
    """A text file. NotFoundError where there is none, SpecError where it is not text or too large."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise SpecError(f"{path}: larger than {MAX_BYTES >> 20} MiB", hint=f"ls -l {path}")
        return raw.decode("utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", hint="roadbed fabric new hpn7", field="fabric") from error
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}", hint=f"ls -l {path}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError(f"{path}:{line}: not UTF-8", hint=f"file {path}") from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file; UsageError where that can't be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror}", hint=f"ls -ld {path.parent}", field="out"
        ) from error
