"""Keeps `control` alive: the one process the agent starts again by itself, with exponential back-off."""

import asyncio
import logging

from roadbed.errors import RoadbedError
from roadbed.runtime.base import ProcessSpec
from roadbed.runtime.local.protocol import CONTROL
from roadbed.runtime.local.table import ProcessTable

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
RESET_AFTER_S = 10.0

_log = logging.getLogger(__name__)


class Backoff:
    """0.1 s, doubled up to 5 s; forgotten once a run lasted 10 s."""

    def __init__(self) -> None:
        self._delay_s = FIRST_DELAY_S

    def after(self, alive_s: float) -> float:
        """How long to wait after a run of `alive_s` seconds."""
        if alive_s >= RESET_AFTER_S:
            self._delay_s = FIRST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(MAX_DELAY_S, delay_s * 2)
        return delay_s


class Keeper:
    """Runs until cancelled."""

    def __init__(self, table: ProcessTable, argv: tuple[str, ...], env: dict[str, str]) -> None:
        self._table = table
        self._spec = ProcessSpec(
            name=CONTROL, argv=argv, env=env, labels={"stop_order": "0", "role": CONTROL}, stop_grace_s=15.0
        )
        self.num_restarts = 0

    async def run(self) -> None:
        """Starts it again whenever it ends, ever more slowly while it does not last. Cancel to end."""
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                process = self._table.start(self._spec, inherit_all=True)
            except RoadbedError as error:
                _log.error("control: %s", error)
            else:
                await process.exited.wait()
            delay_s = backoff.after(loop.time() - began_s)
            _log.warning("control is down; starting it again in %.1f s", delay_s)
            await asyncio.sleep(delay_s)
            self.num_restarts += 1
