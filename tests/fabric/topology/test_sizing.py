"""How many servers, segments and pods hold so many GPUs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadbed.errors import UsageError
from roadbed.fabric.topology.sizing import Size, fit


def _fit(gpus: int = 0, segments: int = 0, pods: int = 0, backup: int = 0) -> Size:
    return fit(
        gpus=gpus,
        gpus_per_server=8,
        servers_per_segment=16,
        backup_servers=backup,
        segments=segments,
        pods=pods,
        full_segments=4,
        full_pods=3,
    )


@given(gpus=st.integers(1, 20_000), segments=st.integers(0, 6), backup=st.integers(0, 2))
def test_holds_what_was_asked_for_and_nothing_smaller_does(gpus: int, segments: int, backup: int) -> None:
    size = _fit(gpus, segments, backup=backup)
    needed = -(-gpus // 8)
    assert size.num_servers == needed + backup * size.num_segments
    assert (np.bincount(size.server_segment, minlength=size.num_segments) <= 16 + backup).all()
    step = size.segments_per_pod if segments else 1
    assert (size.num_segments - step) * 16 < needed <= size.num_segments * 16


def test_counts_without_gpus_are_filled() -> None:
    assert _fit().num_servers == 3 * 4 * 16
    assert _fit(segments=2, pods=2).num_servers == 2 * 2 * 16


def test_counts_with_gpus_keep_empty_segments() -> None:
    size = _fit(8, segments=3, pods=2)
    assert (size.num_servers, size.num_segments) == (1, 6)


@pytest.mark.parametrize(("gpus", "segments", "pods"), [(129, 1, 1), (1 << 40, 0, 0), (0, 1 << 20, 1 << 20)])
def test_what_does_not_fit(gpus: int, segments: int, pods: int) -> None:
    with pytest.raises(UsageError):
        _fit(gpus, segments, pods)
