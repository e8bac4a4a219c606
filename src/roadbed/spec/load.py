"""From what a user wrote to typed specs, with every mistake on its line.

`kind:` picks the model; pydantic checks; each complaint is put back on the line it came from. All complaints are
collected and raised together, because fixing a file one error per run is what people leave a tool for.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from roadbed.errors import SpecError
from roadbed.spec.document import MAX_BYTES, Document, DocumentError, read_documents
from roadbed.spec.platform import PlatformConfig
from roadbed.spec.service import Service
from roadbed.spec.tenant import Key, Tenant

AnySpec = Service | Tenant | Key

KINDS: dict[str, type[Service] | type[Tenant] | type[Key]] = {"service": Service, "tenant": Tenant, "key": Key}

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where and what."""

    source: str
    line: int
    message: str
    field: str | None = None
    kind: str = "service"
    """Whose schema would have helped."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"


def load_path(path: Path) -> list[AnySpec]:
    """Specs of a file, or of every .yaml/.yml/.json file directly in a directory (by name). Raises SpecError."""
    if not path.is_dir():
        return load_file(path)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise SpecError(f"{path}: no {', '.join(_SUFFIXES)} file in this directory", hint="roadbed schema service")
    return _finish([_read(_text_of(file), str(file)) for file in files])


def load_file(path: Path) -> list[AnySpec]:
    """Specs of one file, in order. Raises SpecError."""
    return _finish([_read(_text_of(path), str(path))])


def load_text(text: str, source: str = "-") -> list[AnySpec]:
    """Specs of a text, in order; `source` stands for the file name in errors. Raises SpecError."""
    return _finish([_read(text, source)])


def load_value(value: Any, source: str = "body") -> AnySpec:
    """The spec in an already decoded mapping, such as one of an API body. Raises SpecError."""
    spec, problems = _read_spec(Document(value, {(): 1}), source)
    if spec is None:
        raise _error(problems)
    return spec


def load_config(path: Path) -> PlatformConfig:
    """The platform config; all defaults when the file does not exist or is empty. Raises SpecError."""
    if not path.exists():
        return PlatformConfig()
    source = str(path)
    try:
        documents = read_documents(_text_of(path))
    except DocumentError as error:
        raise _error([Problem(source, error.line, error.message, kind="config")]) from error
    if not documents:
        return PlatformConfig()
    if len(documents) > 1 or not isinstance(documents[0].value, dict):
        line = documents[-1].line_of(())
        raise _error([Problem(source, line, "expected one mapping of config keys", kind="config")])
    try:
        return PlatformConfig.model_validate(documents[0].value)
    except ValidationError as error:
        raise _error(list(_problems(error, documents[0], source, "config"))) from error


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        return raw.decode("utf-8")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}", hint=f"ls -l {path}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SpecError(f"{path}:{line}: not UTF-8", hint=f"file {path}") from error


def _finish(parts: Sequence[tuple[list[tuple[AnySpec, Problem]], list[Problem]]]) -> list[AnySpec]:
    specs = [item for found, _ in parts for item in found]
    problems = [problem for _, wrong in parts for problem in wrong]
    seen: dict[tuple[str, str], Problem] = {}
    for spec, where in specs:
        first = seen.setdefault((spec.kind, spec.name), where)
        if first is not where:
            message = f"{spec.kind} {spec.name!r} is written twice (first at {first.source}:{first.line})"
            problems.append(Problem(where.source, where.line, message, "name"))
    if problems:
        raise _error(problems)
    return [spec for spec, _ in specs]


def _read(text: str, source: str) -> tuple[list[tuple[AnySpec, Problem]], list[Problem]]:
    try:
        documents = read_documents(text)
    except DocumentError as error:
        return [], [Problem(source, error.line, error.message)]
    if not documents:
        return [], [Problem(source, 1, f"holds no spec; begin with kind: {' | '.join(KINDS)}")]
    specs: list[tuple[AnySpec, Problem]] = []
    problems: list[Problem] = []
    for document in documents:
        spec, wrong = _read_spec(document, source)
        problems.extend(wrong)
        if spec is not None:
            specs.append((spec, Problem(source, document.line_of(("name",)), "")))
    return specs, problems


def _read_spec(document: Document, source: str) -> tuple[AnySpec | None, list[Problem]]:
    value = document.value
    kinds = ", ".join(KINDS)
    if not isinstance(value, dict):
        return None, [Problem(source, document.line_of(()), f"expected a mapping that begins with kind: ({kinds})")]
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = f"kind {kind!r} is not one of {kinds}" if "kind" in value else f"kind is missing; one of {kinds}"
        close = difflib.get_close_matches(str(kind), KINDS, n=1)
        said += f"; did you mean {close[0]!r}?" if close else ""
        return None, [Problem(source, document.line_of(("kind",)), said, "kind")]
    try:
        return KINDS[kind].model_validate(value), []
    except ValidationError as error:
        return None, list(_problems(error, document, source, kind))


def _problems(error: ValidationError, document: Document, source: str, kind: str) -> Iterator[Problem]:
    model: type[BaseModel] = PlatformConfig if kind == "config" else KINDS[kind]
    name = document.value.get("name")
    label = f"{kind} {name!r}" if isinstance(name, str) else kind
    for detail in error.errors(include_url=False, include_input=False):
        loc = detail["loc"]
        dotted = ".".join(str(part) for part in loc)
        yield Problem(source, document.line_of(loc), f"{label}: {_sentence(detail, model)}", dotted or None, kind)


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    loc = detail["loc"]
    if detail["type"] == "extra_forbidden":
        owner, name = _owner(model, loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), owner.model_fields, n=1, cutoff=0.5)
        known = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(sorted(owner.model_fields))}"
        return f"{str(loc[-1])!r} is not a key of {name}; {known}"
    message = detail["msg"].removeprefix("Value error, ")
    dotted = ".".join(str(part) for part in loc)
    return f"{dotted}: {message}" if dotted else message


def _owner(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[type[BaseModel], str]:
    """The model that the path `loc` leads to, and what to call it: `engine` for Service, ("engine", "llamacpp")."""
    name = "config" if model is PlatformConfig else model.__name__.lower()
    candidates: list[type[BaseModel]] = [model]
    for part in loc:
        owner = candidates[0]
        if isinstance(part, str) and part in owner.model_fields:
            candidates = list(_models_in(owner.model_fields[part].annotation)) or candidates
            name = part
        else:
            candidates = [m for m in candidates if _kind_of(m) == part] or candidates
    return candidates[0], name


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models_in(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType, list, dict, tuple):
        for part in get_args(annotation):
            yield from _models_in(part)


def _kind_of(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    return str(get_args(field.annotation)[0])


def _error(problems: list[Problem]) -> SpecError:
    problems = sorted(problems, key=lambda problem: (problem.source, problem.line))
    text = "\n".join(str(problem) for problem in problems)
    return SpecError(text, hint=f"roadbed schema {problems[0].kind}", field=problems[0].field)
