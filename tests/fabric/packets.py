"""A packet-level network, small and slow: the oracle of the fluid one.

Every link serves the flows that wait for it in turn, one packet each; a flow has a window of packets on the way. Round
robin with windows gives every flow its max–min share (Hahne, IEEE JSAC 1991), so completion times must be those of the
fluid model up to packets in flight.
"""

import heapq
from collections import deque

from roadbed.fabric.base import Fabric
from roadbed.fabric.paths import Paths


class _Port:
    def __init__(self) -> None:
        self.waiting: dict[int, deque[int]] = {}
        self.turn: deque[int] = deque()
        self.busy = False


def completion_s(
    fabric: Fabric, paths: Paths, size_bytes: list[float], start_s: list[float], packet_bytes: float
) -> list[float]:
    """When the last packet of each flow arrives."""
    ways = [paths.links_of(at).tolist() for at in range(len(size_bytes))]
    left = [max(1, round(size / packet_bytes)) for size in size_bytes]
    missing = list(left)
    window = [6 * len(way) + 2 for way in ways]
    ports = {link: _Port() for way in ways for link in way}
    done = [0.0] * len(ways)
    queue: list[tuple[float, int, int, int, int]] = []
    order = 0

    def push(when: float, kind: int, flow: int, hop: int) -> None:
        nonlocal order
        order += 1
        heapq.heappush(queue, (when, order, kind, flow, hop))

    def serve(now: float, link: int) -> None:
        port = ports[link]
        if port.busy or not port.turn:
            return
        flow = port.turn.popleft()
        hop = port.waiting[flow].popleft()
        if port.waiting[flow]:
            port.turn.append(flow)
        port.busy = True
        push(now + packet_bytes / fabric.capacity[link], 1, flow, hop)

    def arrive(now: float, flow: int, hop: int) -> None:
        link = ways[flow][hop]
        port = ports[link]
        waiting = port.waiting.setdefault(flow, deque())
        if not waiting:
            port.turn.append(flow)
        waiting.append(hop)
        serve(now, link)

    def send(now: float, flow: int) -> None:
        if left[flow]:
            left[flow] -= 1
            arrive(now, flow, 0)

    for flow, when in enumerate(start_s):
        push(when, 2, flow, 0)
    while queue:
        now, _, kind, flow, hop = heapq.heappop(queue)
        if kind == 2:
            for _ in range(window[flow]):
                send(now, flow)
        elif kind == 1:
            link = ways[flow][hop]
            ports[link].busy = False
            push(now + fabric.latency_s[link], 0, flow, hop + 1)
            serve(now, link)
        elif hop < len(ways[flow]):
            arrive(now, flow, hop)
        else:
            missing[flow] -= 1
            done[flow] = now
            send(now, flow)
    assert not any(missing)
    return done
