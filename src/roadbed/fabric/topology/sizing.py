"""From "so many GPUs" to counts of servers, segments and pods.

Servers fill segments in order and segments fill pods, so the first GPUs are the closest to each other. What is not
asked for is not built: segments without a server have no ToRs, unless counts say otherwise. Aggs and Cores are always
complete, because how many there are decides which paths exist.
"""

from typing import Annotated

import msgspec
import numpy as np

from roadbed.errors import UsageError
from roadbed.fabric.base import Ints

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Maybe = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
"""0 = as many as are needed (or as the family has)."""
MAX_GPUS = 1 << 20
Gbps = Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a fabric of this size consists of."""

    num_servers: int
    num_segments: int
    segments_per_pod: int
    server_segment: Ints
    """[num_servers]"""


def fit(
    *,
    gpus: int,
    gpus_per_server: int,
    servers_per_segment: int,
    backup_servers: int = 0,
    segments: int,
    pods: int,
    full_segments: int,
    full_pods: int,
) -> Size:
    """The size: gpus, segments (of a pod) and pods as asked for, 0 = free; full_*: what the family has at its full.

    backup_servers of each segment come after all active ones, so GPU numbers below the active count are active.
    UsageError where the GPUs do not fit in the counts asked for.
    """
    per_pod = segments or full_segments
    needed = -(-gpus // gpus_per_server)
    if gpus and not (segments or pods):
        num_segments = -(-needed // servers_per_segment)
    elif gpus and not pods:
        num_segments = per_pod * -(-needed // (servers_per_segment * per_pod))
    else:
        num_segments = per_pod * (pods or full_pods)
    room = num_segments * servers_per_segment
    active = needed or room
    if active > room:
        raise UsageError(
            f"{gpus:,} GPUs do not fit: {num_segments} segments of {servers_per_segment} servers hold "
            f"{room * gpus_per_server:,}",
            hint="leave out the counts, or ask for more segments or pods",
            field="gpus",
        )
    reserve = num_segments * backup_servers
    check_num_gpus((max(active, num_segments) + reserve) * gpus_per_server)
    segment = np.arange(active, dtype=np.int32) // servers_per_segment
    if backup_servers:
        segment = np.concatenate([segment, np.repeat(np.arange(num_segments, dtype=np.int32), backup_servers)])
    return Size(num_servers=len(segment), num_segments=num_segments, segments_per_pod=per_pod, server_segment=segment)


def check_num_gpus(num: int) -> None:
    """UsageError where that many GPUs are more than can be built."""
    if num > MAX_GPUS:
        raise UsageError(f"{num:,} GPUs; at most {MAX_GPUS:,} can be built", hint="--gpus 122880", field="gpus")
