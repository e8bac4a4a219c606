"""KV caches on their way from one server to another, through one NIC per server that all its transfers share.

    rate of a transfer = min(B / transfers leaving its source, B / transfers arriving at its target)

NICs are full duplex and the network between them is taken to be wide enough. Equal shares at either end leave a little
of a NIC unused where the other end is the narrower one; max-min fairness would give that to the others. With the few
transfers that are in flight at once the difference is small, and a change touches only those who share an end.
"""

from collections.abc import Callable

from roadbed.twin.kernel import Action, Handle, Kernel


class Transfer:
    """One cache under way. left: bytes as of at_s."""

    __slots__ = ("at_s", "handle", "left", "num_bytes", "rate", "source", "started_s", "target", "then")

    def __init__(self, source: int, target: int, num_bytes: int, now: float, then: Action) -> None:
        self.source = source
        self.target = target
        self.num_bytes = num_bytes
        self.left = float(num_bytes)
        self.at_s = self.started_s = now
        self.rate = 0.0
        self.handle: Handle | None = None
        self.then = then


class Links:
    """All transfers; bytes_per_s of one NIC in one direction. Counts what it moved and how long that took."""

    def __init__(self, kernel: Kernel, bytes_per_s: float) -> None:
        """Raises ValueError for a link that moves nothing."""
        if not bytes_per_s > 0.0:
            raise ValueError(f"a link of {bytes_per_s} bytes/s")
        self._kernel = kernel
        self._bytes_per_s = bytes_per_s
        self._leaving: dict[int, list[Transfer]] = {}
        self._arriving: dict[int, list[Transfer]] = {}
        self.moved_bytes = 0
        self.seconds: list[float] = []
        """Of every transfer that ended."""

    @property
    def num_moving(self) -> int:
        return sum(len(transfers) for transfers in self._leaving.values())

    def start(self, source: int, target: int, num_bytes: int, then: Callable[[], None]) -> Transfer:
        """Calls `then` when all bytes have come; with nothing to move, at once (as an event of this moment)."""
        transfer = Transfer(source, target, num_bytes, self._kernel.now, then)
        self._leaving.setdefault(source, []).append(transfer)
        self._arriving.setdefault(target, []).append(transfer)
        self._share(source, target)
        return transfer

    def _end(self, transfer: Transfer) -> None:
        self._leaving[transfer.source].remove(transfer)
        self._arriving[transfer.target].remove(transfer)
        self._share(transfer.source, transfer.target)
        self.moved_bytes += transfer.num_bytes
        self.seconds.append(self._kernel.now - transfer.started_s)
        transfer.then()

    def _share(self, source: int, target: int) -> None:
        """New rates for all that share an end with what came or went."""
        now = self._kernel.now
        touched = list(self._leaving[source])
        touched += [one for one in self._arriving[target] if one.source != source]
        for one in touched:
            rate = self._bytes_per_s / max(len(self._leaving[one.source]), len(self._arriving[one.target]))
            if one.handle is not None:
                if rate == one.rate:
                    continue
                self._kernel.cancel(one.handle)
            one.left = max(0.0, one.left - one.rate * (now - one.at_s))
            one.at_s, one.rate = now, rate
            one.handle = self._kernel.at(now + one.left / rate, _ending(self, one))


def _ending(links: Links, transfer: Transfer) -> Action:
    return lambda: links._end(transfer)
