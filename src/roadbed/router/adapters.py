"""Which adapters (LoRA) an engine has loaded: so many at once, the longest unused of the idle ones makes room.

Nobody tells us what an engine evicts, so this is the account of what was sent there, by the rule engines follow: an
adapter that requests in flight use stays, of the others the least recently used goes first, and a request whose adapter
finds every place in use waits until one is idle. The modelled engine of the twin runs on the same class, so what the
router believes of it can be compared with what is true.
"""

_LOAD_GAIN = 0.25
_HALVE_AFTER = 64
"""Uses per place after which older ones count half."""


class AdapterSet:
    """Mutable; one per replica. capacity: places, at least 1. load_s: what loading one takes, until it is seen."""

    __slots__ = ("_busy", "_loaded", "_num_uses", "_queued", "_uses", "capacity", "load_s")

    def __init__(self, capacity: int, load_s: float) -> None:
        self.capacity = max(1, capacity)
        self.load_s = load_s
        self._loaded: dict[str, int] = {}
        """In a place, least recently used first → requests in flight that use it."""
        self._queued: dict[str, int] = {}
        """Wanted while every place was in use, in order → requests."""
        self._busy = 0
        """Loaded ones that requests in flight use."""
        self._uses: dict[str, float] = {}
        self._num_uses = 0

    @property
    def loaded(self) -> list[str]:
        """Least recently used first."""
        return list(self._loaded)

    @property
    def num_busy(self) -> int:
        return self._busy

    def has_room(self, adapter: str) -> bool:
        """Whether a request for it would not have to wait for others to end."""
        return adapter in self._loaded or self._busy < self.capacity

    def affinity(self, adapter: str) -> float:
        """llm-d's scale: 1 loaded, 0.8 a place is empty or idle, 0.6 it is waited for already, else 0."""
        if adapter in self._loaded:
            return 1.0
        if self._busy < self.capacity:
            return 0.8
        return 0.6 if adapter in self._queued else 0.0

    def seconds(self, adapter: str, longest_s: float) -> float:
        """What a request for it waits longer than one without, and what its coming costs those after it.

        0                       where it is loaded
        load · (1 + p)          where a place is empty or idle; p = uses of who must go / (those + its own), the
                                chance that it is rather the other that is wanted next; 0 where nobody must go
        load · (1 + p) + wait   where all are in use; wait = longest · k / (k + 1), the last of the k requests of
                                the least used adapter, ends being spread evenly up to longest_s
        """
        if adapter in self._loaded:
            return 0.0
        if len(self._loaded) < self.capacity:
            return self.load_s
        victim, wait_s = self._victim(), 0.0
        if not victim:
            victim = min(self._loaded, key=self._loaded.__getitem__)
            num = self._loaded[victim] + len(self._queued)
            wait_s = longest_s * num / (num + 1)
        theirs, mine = self._uses.get(victim, 0.0), self._uses.get(adapter, 0.0)
        return wait_s + self.load_s * (1.0 + theirs / (theirs + mine + 1e-9))

    def use(self, adapter: str) -> bool:
        """A request for it was sent. True: it has to be loaded first. Every use needs its `release`."""
        self._count(adapter)
        num = self._loaded.pop(adapter, -1)
        if num >= 0:
            self._loaded[adapter] = num + 1
            self._busy += num == 0
            return False
        if adapter in self._queued:
            self._queued[adapter] += 1
            return True
        if self._busy < self.capacity:
            self._load(adapter, 1)
        else:
            self._queued[adapter] = 1
        return True

    def release(self, adapter: str) -> None:
        """That request is over. Unknown ones are ignored (the engine was replaced meanwhile)."""
        queued = self._queued.get(adapter, 0)
        if queued:
            if queued > 1:
                self._queued[adapter] = queued - 1
            else:
                del self._queued[adapter]
            return
        num = self._loaded.get(adapter, 0)
        if not num:
            return
        self._loaded[adapter] = num - 1
        if num == 1:
            self._busy -= 1
            self._admit()

    def resize(self, capacity: int) -> None:
        """Another number of places; idle ones beyond it are unloaded."""
        self.capacity = max(1, capacity)
        while len(self._loaded) > self.capacity and (victim := self._victim()):
            del self._loaded[victim]
        self._admit()

    def observe_load(self, seconds: float) -> None:
        """A request that had to load its adapter took so much longer to its first token than predicted."""
        at_most = 4.0 * self.load_s + 0.1
        self.load_s += _LOAD_GAIN * (min(max(seconds, 0.0), at_most) - self.load_s)

    def _admit(self) -> None:
        """Those who waited take the places that are idle now."""
        while self._queued and self._busy < self.capacity:
            adapter = next(iter(self._queued))
            self._load(adapter, self._queued.pop(adapter))

    def _load(self, adapter: str, num: int) -> None:
        while len(self._loaded) >= self.capacity and (victim := self._victim()):
            del self._loaded[victim]
        self._loaded[adapter] = num
        self._busy += 1

    def _victim(self) -> str:
        """The idle one unused for longest, "" where none is."""
        for adapter, num in self._loaded.items():
            if not num:
                return adapter
        return ""

    def _count(self, adapter: str) -> None:
        self._uses[adapter] = self._uses.get(adapter, 0.0) + 1.0
        self._num_uses += 1
        if self._num_uses >= _HALVE_AFTER * self.capacity:
            self._num_uses = 0
            self._uses = {name: uses / 2 for name, uses in self._uses.items() if uses > 0.25}
