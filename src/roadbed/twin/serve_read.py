"""Published traces of inference requests, read as one `Trace`; formats are told apart by their columns.

    Mooncake      JSON lines: timestamp (ms), input_length, output_length, hash_ids of 512 tokens
    Bailian/Qwen  JSON lines: the same with chat_id, timestamp in seconds, hash_ids of 16 tokens
    Azure         CSV: TIMESTAMP (date), ContextTokens, GeneratedTokens
    BurstGPT      CSV: Timestamp (s), Request tokens, Response tokens; a response of 0 is a request that failed there
    ShareGPT      JSON lines: conversations of turns; no times, so they arrive as a Poisson process
    generic       CSV or JSON lines: arrival_s, prompt_tokens, output_tokens; where known session, priority,
                  adapter, model, block_hashes with block_tokens

What can't be replayed (a prompt of no tokens, times that are none, too few hashes) ends the reading with its row.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from roadbed.errors import SpecError
from roadbed.twin.serve_trace import Trace
from roadbed.twin.table import HINT, Row, header_of, read_csv, read_jsonl

MOONCAKE_BLOCK, BAILIAN_BLOCK = 512, 16
MOST_TOKENS = 10_000_000
CHARS_PER_TOKEN = 4.0
_MOST_NAME = 200
_READING_CHARS_S = 25.0
"""How fast people read and type, together: what a conversation waits between an answer and the next question."""

Add = Callable[[Trace, Row], None]


def read_trace(path: Path, *, rate: float = 1.0, seed: int = 0) -> Trace:
    """A trace of any known format. SpecError naming row and column, NotFoundError, UsageError (unreadable).

    rate: conversations per second where the format has no times (ShareGPT).
    """
    first = next(read_jsonl(path, ()), None) if _looks_like_json(path) else None
    if first is not None:
        rows = read_jsonl(path, ())
        if first.has("conversations"):
            return _conversations(path, rows, rate, seed)
        block_tokens, add = _json_format(first)
    else:
        header = header_of(path)
        block_tokens, add = _csv_format(path, header)
        rows = read_csv(path, header)
    trace = Trace(path.name, block_tokens)
    lines: list[int] = []
    for row in rows:
        before = len(trace)
        add(trace, row)
        lines.extend([row.line] * (len(trace) - before))
    return _checked(path, trace, lines)


def _checked(path: Path, trace: Trace, lines: list[int]) -> Trace:
    if not len(trace):
        raise SpecError(f"{path}: no requests", hint=HINT)
    return trace.in_order(lines)


def _looks_like_json(path: Path) -> bool:
    if not path.is_file():
        return path.suffix in (".jsonl", ".json")
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _json_format(first: Row) -> tuple[int, Add]:
    if first.has("chat_id"):
        return BAILIAN_BLOCK, _Bailian().add
    if first.has("input_length"):
        return MOONCAKE_BLOCK, _mooncake
    if first.has("prompt_tokens"):
        return first.integer("block_tokens", 0), _generic
    words = "neither Mooncake (input_length), Bailian (chat_id), ShareGPT (conversations) nor prompt_tokens"
    raise first.error(f"no known form of request: {words}")


def _csv_format(path: Path, header: list[str]) -> tuple[int, Add]:
    if "ContextTokens" in header:
        return 0, _azure
    if "Request tokens" in header:
        return 0, _burstgpt
    if "prompt_tokens" in header:
        return 0, _generic
    there = ", ".join(header[:12]) or "nothing"
    words = "no known trace: neither Azure (ContextTokens), BurstGPT (Request tokens) nor prompt_tokens"
    raise SpecError(f"{path}:1: {words}; there is {there}", hint=HINT)


def _tokens(row: Row, column: str) -> int:
    """At least 1; a request without tokens can't be replayed."""
    return row.integer(column, least=1, most=MOST_TOKENS)


def _hashes(row: Row, column: str, prompt_tokens: int, block_tokens: int) -> list[int]:
    """Those of full blocks; a partial last one is never shared."""
    found = row.integers(column)
    if not found:
        return []
    full = prompt_tokens // block_tokens
    if not full <= len(found) <= full + 1:
        words = f"{column} has {len(found)} hashes for {prompt_tokens} tokens in blocks of {block_tokens}"
        raise row.error(words, column)
    return found[:full]


def _mooncake(trace: Trace, row: Row) -> None:
    prompt = _tokens(row, "input_length")
    blocks = _hashes(row, "hash_ids", prompt, MOONCAKE_BLOCK)
    trace.add(row.number("timestamp") / 1000, prompt, _tokens(row, "output_length"), blocks)


def _azure(trace: Trace, row: Row) -> None:
    trace.add(_date_s(row, "TIMESTAMP"), _tokens(row, "ContextTokens"), _tokens(row, "GeneratedTokens"))


def _burstgpt(trace: Trace, row: Row) -> None:
    output = row.integer("Response tokens", most=MOST_TOKENS)
    session = row.text("Session ID") or None
    if output:
        trace.add(row.number("Timestamp"), _tokens(row, "Request tokens"), output, session=session)
    elif not any("failed" in note for note in trace.notes):
        trace.notes.append(f"{trace.name}:{row.line}: failed when it was recorded (0 tokens); all such are left out")


def _generic(trace: Trace, row: Row) -> None:
    prompt = _tokens(row, "prompt_tokens")
    size = trace.block_tokens
    if row.integer("block_tokens", size) != size:
        raise row.error(f"block_tokens differs from the first row's {size}", "block_tokens")
    blocks = _hashes(row, "block_hashes", prompt, size) if size else []
    priority = row.integer("priority", 5, least=1, most=9)
    session = row.text("session") or None
    trace.add(
        row.number("arrival_s"), prompt, _tokens(row, "output_tokens"), blocks, session, priority,
        _name(row, "adapter"), _name(row, "model"),
    )  # fmt: skip


def _name(row: Row, column: str) -> str:
    """Of an adapter or a model, "" where none is named."""
    name = row.text(column).strip()
    if len(name) > _MOST_NAME:
        raise row.error(f"{column} has {len(name)} characters, at most {_MOST_NAME} are a name", column)
    return name


def _date_s(row: Row, column: str) -> float:
    """Seconds since 1970 of a date such as 2023-11-16 18:17:03.9799600; UTC where no zone is given."""
    text = row.text(column)
    whole, _, fraction = text.partition(".")
    digits = fraction[: next((at for at, char in enumerate(fraction) if not char.isdigit()), len(fraction))]
    try:
        moment = datetime.fromisoformat(whole + fraction[len(digits) :])
    except ValueError as error:
        raise row.error(f"{column} is {text[:60]!r}, which is no date", column) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() + (int(digits[:9]) / 10 ** min(9, len(digits)) if digits else 0.0)


class _Bailian:
    """Turns of a chat name the one before; all of them are one session, named after the first."""

    def __init__(self) -> None:
        self._root: dict[int, int] = {}

    def add(self, trace: Trace, row: Row) -> None:
        chat, parent = row.integer("chat_id", least=-1), row.integer("parent_chat_id", -1, least=-1)
        root = self._root.get(parent, chat) if parent >= 0 else chat
        self._root[chat] = root
        prompt = _tokens(row, "input_length")
        blocks = _hashes(row, "hash_ids", prompt, BAILIAN_BLOCK)
        trace.add(row.number("timestamp"), prompt, _tokens(row, "output_length"), blocks, str(root))


def _conversations(path: Path, rows: Iterator[Row], rate: float, seed: int) -> Trace:
    """Each question with all that was said before it; tokens are estimated from characters."""
    trace = Trace(path.name, BAILIAN_BLOCK)
    trace.notes.append(f"{path.name}: has no times; conversations arrive as a Poisson process of {rate:g}/s")
    chance, start_s = random.Random(seed), 0.0
    lines: list[int] = []
    for row in rows:
        start_s += chance.expovariate(rate)
        before = len(trace)
        _conversation(trace, row, start_s)
        lines.extend([row.line] * (len(trace) - before))
    return _checked(path, trace, lines)


def _conversation(trace: Trace, row: Row, start_s: float) -> None:
    said, now_s = 0, start_s
    question = ""
    for turn in row.items("conversations"):
        who, words = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if not isinstance(who, str) or not isinstance(words, str):
            raise row.error("a turn needs `from` and `value`", "conversations")
        if who in ("human", "user", "system"):
            question += words
            continue
        if not question or not words:
            continue
        prompt = max(1, int((said + len(question)) / CHARS_PER_TOKEN))
        output = max(1, int(len(words) / CHARS_PER_TOKEN))
        blocks = [(row.line << 24) + at for at in range(prompt // BAILIAN_BLOCK)]
        trace.add(now_s, min(prompt, MOST_TOKENS), min(output, MOST_TOKENS), blocks, f"conversation-{row.line}")
        said += len(question) + len(words)
        now_s += (len(question) + len(words)) / _READING_CHARS_S
        question = ""
