"""A trace of inference requests, as columns: when, how long a prompt and an answer, which prefix, whose session.

Columns of machine numbers rather than objects: a million requests take some 60 MB and nothing for the garbage
collector to walk. What merely looks odd (unsorted rows, equal times, a hole) is put right or kept, and said in `notes`
with the first row it was seen in; what can't be replayed never gets in here (`serve_read`).
"""

import statistics
import sys
from array import array
from collections.abc import Sequence

from roadbed.router.blocks import salted

_HOLE_TIMES, _HOLE_LEAST_S = 50.0, 60.0


class Trace:
    """Requests in order of arrival, the first at 0 s. block_tokens: of `blocks`; 0 = the trace knows no prefixes.

    blocks[i]: hashes of the full blocks of prompt i, apart for each adapter and model. adapter, model: of each request;
    "" = the base model, and the only one. synthetic: made up, not recorded.
    """

    __slots__ = (
        "adapter", "arrival_s", "block_tokens", "blocks", "model", "name", "notes", "output_tokens", "priority",
        "prompt_tokens", "session", "synthetic",
    )  # fmt: skip

    def __init__(self, name: str, block_tokens: int = 0, *, synthetic: bool = False) -> None:
        self.name = name
        self.block_tokens = block_tokens
        self.synthetic = synthetic
        self.notes: list[str] = []
        self.arrival_s = array("d")
        self.prompt_tokens = array("q")
        self.output_tokens = array("q")
        self.priority = array("b")
        self.blocks: list[Sequence[int]] = []
        self.session: list[str | None] = []
        self.adapter: list[str] = []
        self.model: list[str] = []

    def __len__(self) -> int:
        return len(self.arrival_s)

    def add(
        self, arrival_s: float, prompt_tokens: int, output_tokens: int, blocks: Sequence[int] = (),
        session: str | None = None, priority: int = 5, adapter: str = "", model: str = "",
    ) -> None:  # fmt: skip
        """One request more, in whatever order. blocks: as if there were one model alone."""
        if blocks and (adapter or model):
            blocks = salted(blocks, f"{model}/{adapter}")
        self.arrival_s.append(arrival_s)
        self.prompt_tokens.append(prompt_tokens)
        self.output_tokens.append(output_tokens)
        self.priority.append(priority)
        self.blocks.append(array("q", blocks) if blocks else ())
        self.session.append(session)
        self.adapter.append(sys.intern(adapter))
        self.model.append(sys.intern(model))

    @property
    def adapters(self) -> tuple[str, ...]:
        """Those that any request wants, in order of name."""
        return tuple(sorted(set(self.adapter) - {""}))

    @property
    def models(self) -> tuple[str, ...]:
        """Those named by any request, in order."""
        return tuple(sorted(set(self.model) - {""}))

    def in_order(self, lines: Sequence[int] = ()) -> "Trace":
        """Sorts by arrival, shifts the first to 0; given `lines`, where each row stands, notes what is odd."""
        if lines:
            self._note_order(lines)
        order = sorted(range(len(self)), key=self.arrival_s.__getitem__)
        start = self.arrival_s[order[0]]
        self.arrival_s = array("d", (self.arrival_s[at] - start for at in order))
        for column in ("prompt_tokens", "output_tokens", "priority"):
            values: array[int] = getattr(self, column)
            setattr(self, column, array(values.typecode, (values[at] for at in order)))
        self.blocks = [self.blocks[at] for at in order]
        self.session = [self.session[at] for at in order]
        self.adapter = [self.adapter[at] for at in order]
        self.model = [self.model[at] for at in order]
        if lines:
            self._note_holes([lines[at] for at in order])
        return self

    def taken(self, num: int) -> "Trace":
        """The first `num` requests, as another trace that shares what it can."""
        found = Trace(self.name, self.block_tokens, synthetic=self.synthetic)
        found.notes = self.notes
        for column in (
            "arrival_s", "prompt_tokens", "output_tokens", "priority", "blocks", "session", "adapter", "model",
        ):  # fmt: skip
            setattr(found, column, getattr(self, column)[:num])
        return found

    def _note_order(self, lines: Sequence[int]) -> None:
        times = self.arrival_s
        back = [at for at in range(1, len(times)) if times[at] < times[at - 1]]
        if back:
            self.notes.append(f"{self.name}:{lines[back[0]]}: before the row above it; {len(back)} such rows, sorted")
        seen: set[float] = set()
        twice: list[int] = []
        for at, time_s in enumerate(times):
            if time_s in seen:
                twice.append(at)
            seen.add(time_s)
        if twice:
            words = f"arrives with another request; {len(twice)} such rows, kept"
            self.notes.append(f"{self.name}:{lines[twice[0]]}: {words}")

    def _note_holes(self, lines: Sequence[int]) -> None:
        gaps = [b - a for a, b in zip(self.arrival_s, self.arrival_s[1:], strict=False)]
        usual = statistics.fmean(gaps) if gaps else 0.0
        holes = [at for at, gap in enumerate(gaps, 1) if gap > max(_HOLE_LEAST_S, _HOLE_TIMES * usual)]
        if holes:
            at = holes[0]
            words = f"nothing for {gaps[at - 1]:.0f} s before it; {len(holes)} such holes, kept"
            self.notes.append(f"{self.name}:{lines[at]}: {words}")
