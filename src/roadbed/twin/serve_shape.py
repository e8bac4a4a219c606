"""The shape of a recorded day: how busy each five minutes were, next to the day's mean.

Read from rows of (timestamp_anon, value), such as Alibaba's request rates of an image-generation service: values of
all containers are added up, so a part with fewer rows was a quieter one. Nothing is smoothed: an autoscaler has to live
with what five minutes do. What the record lacks of a day is stretched over, and times within a part are evenly likely.
"""

import math
from pathlib import Path

import msgspec

from roadbed.errors import SpecError
from roadbed.twin.table import HINT, read_csv

NUM_PARTS = 288
_COLUMNS = ("timestamp_anon", "value")


class Shape(msgspec.Struct, frozen=True):
    """relative: rate of each part over the mean of all; their mean is 1."""

    relative: tuple[float, ...]

    @property
    def most(self) -> float:
        return max(self.relative)

    def at(self, share: float) -> float:
        """Rate over mean rate at a share of the day, 0 ≤ share < 1."""
        return self.relative[min(int(share * len(self.relative)), len(self.relative) - 1)]


def read_parts(path: Path, num_parts: int) -> list[float]:
    """Sums of a recorded day in equal parts, from rows of (timestamp_anon, value); not all of them 0. SpecError with
    the line for what makes no sense, NotFoundError, UsageError (unreadable)."""
    points = [
        (row.number("timestamp_anon", least=-math.inf), row.number("value"))
        for row in read_csv(path, _COLUMNS)
        if row.has("value")
    ]
    first_s = min((at_s for at_s, _ in points), default=0.0)
    last_s = max((at_s for at_s, _ in points), default=0.0)
    if last_s <= first_s:
        raise SpecError(f"{path}: holds no day: all of it is at one time", hint=HINT)
    sums = [0.0] * num_parts
    for at_s, value in points:
        sums[min(num_parts - 1, int((at_s - first_s) / (last_s - first_s) * num_parts))] += value
    if math.fsum(sums) <= 0.0:
        raise SpecError(f"{path}: holds no day: every value is 0", hint=HINT)
    return sums


def read_shape(path: Path, num_parts: int = NUM_PARTS) -> Shape:
    """A day's shape; raises what `read_parts` does."""
    sums = read_parts(path, num_parts)
    mean = math.fsum(sums) / num_parts
    return Shape(tuple(value / mean for value in sums))
