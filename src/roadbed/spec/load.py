"""From what a user wrote to typed specs, with every mistake on its line.

`kind:` picks the model; pydantic checks; each complaint is put back on the line it came from. All complaints are
collected and raised together, because fixing a file one error per run is what people leave a tool for.

Chips are the one thing a document can't know by itself: a task may ask for one that a cluster document describes. Those
of clusters in the same text are known, others are handed in as `chips`.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from roadbed.errors import SpecError
from roadbed.spec.cluster import Cluster
from roadbed.spec.document import MAX_BYTES, Document, DocumentError, read_documents
from roadbed.spec.platform import PlatformConfig
from roadbed.spec.quota import Quota
from roadbed.spec.service import Service
from roadbed.spec.task import Task
from roadbed.spec.tenant import Key, Tenant

AnySpec = Service | Tenant | Key | Task | Quota | Cluster
Applicable = Service | Tenant | Key | Task | Quota
"""What the control plane keeps."""
APPLICABLE_KINDS = ("key", "quota", "service", "task", "tenant")

KINDS: dict[str, type[AnySpec]] = {
    "service": Service,
    "tenant": Tenant,
    "key": Key,
    "task": Task,
    "quota": Quota,
    "cluster": Cluster,
}

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


def load_path(path: Path, chips: Collection[str] = ()) -> list[AnySpec]:
    """Specs of a file, or of every .yaml/.yml/.json file directly in a directory (by name). Raises SpecError."""
    if not path.is_dir():
        return load_file(path, chips)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise SpecError(f"{path}: no {', '.join(_SUFFIXES)} file in this directory", hint="roadbed schema service")
    return _load([(_text_of(file), str(file)) for file in files], chips)


def load_file(path: Path, chips: Collection[str] = ()) -> list[AnySpec]:
    """Specs of one file, in order. Raises SpecError."""
    return _load([(_text_of(path), str(path))], chips)


def load_text(text: str, source: str = "-", chips: Collection[str] = ()) -> list[AnySpec]:
    """Specs of a text, in order; `source` stands for the file name in errors. Raises SpecError."""
    return _load([(text, source)], chips)


def load_value(value: Any, source: str = "body", chips: Collection[str] = ()) -> AnySpec:
    """The spec in an already decoded mapping, such as one of an API body. Raises SpecError."""
    spec, problems = _read_spec(Document(value, {(): 1}), source, frozenset(chips))
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


def applicable(specs: Sequence[AnySpec]) -> list[Applicable]:
    """The same specs, if the control plane keeps their kinds. Raises SpecError naming the first other."""
    kept: list[Applicable] = []
    for spec in specs:
        if not isinstance(spec, Applicable):
            raise SpecError(
                f"{spec.kind} {spec.name!r} is sound, but the platform finds its machines by itself; "
                f"a {spec.kind} document describes machines to the twin",
                hint="roadbed twin jobs --help",
                field="kind",
            )
        kept.append(spec)
    return kept


def _load(texts: Sequence[tuple[str, str]], chips: Collection[str]) -> list[AnySpec]:
    """Specs of several texts and their sources, all problems at once."""
    problems: list[Problem] = []
    documents: list[tuple[Document, str]] = []
    for text, source in texts:
        try:
            found = read_documents(text)
        except DocumentError as error:
            problems.append(Problem(source, error.line, error.message))
            continue
        if not found:
            problems.append(Problem(source, 1, f"holds no spec; begin with kind: {' | '.join(KINDS)}"))
        documents.extend((document, source) for document in found)
    known = frozenset(chips).union(*(_chips_in(document.value) for document, _ in documents))
    specs: list[AnySpec] = []
    seen: dict[tuple[str, str], tuple[str, int]] = {}
    for document, source in documents:
        spec, wrong = _read_spec(document, source, known)
        problems.extend(wrong)
        if spec is None:
            continue
        specs.append(spec)
        line = document.line_of(("name",))
        first = seen.setdefault((spec.kind, spec.name), (source, line))
        if first != (source, line):
            message = f"{spec.kind} {spec.name!r} is written twice (first at {first[0]}:{first[1]})"
            problems.append(Problem(source, line, message, "name", spec.kind))
    if problems:
        raise _error(problems)
    return specs


def _chips_in(value: Any) -> list[str]:
    """Names of the chips that a cluster document describes, sound or not: its own errors will say so."""
    if not isinstance(value, dict) or value.get("kind") != "cluster" or not isinstance(value.get("chips"), dict):
        return []
    return [name for name in value["chips"] if isinstance(name, str)]


def _read_spec(document: Document, source: str, chips: frozenset[str]) -> tuple[AnySpec | None, list[Problem]]:
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
        return KINDS[kind].model_validate(value, context={"chips": chips | frozenset(_chips_in(value))}), []
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
        keys = sorted(_keys(owner))
        close = difflib.get_close_matches(str(loc[-1]), keys, n=1, cutoff=0.5)
        known = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(keys)}"
        return f"{str(loc[-1])!r} is not a key of {name}; {known}"
    message = detail["msg"].removeprefix("Value error, ")
    dotted = ".".join(str(part) for part in loc)
    return f"{dotted}: {message}" if dotted else message


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """What a mapping of this model may hold, other ways to write a key included."""
    for name, field in model.model_fields.items():
        written = field.validation_alias
        if isinstance(written, AliasChoices):
            yield from (choice for choice in written.choices if isinstance(choice, str))
        else:
            yield written if isinstance(written, str) else name


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
