"""One loop for all reconcilers: a pass, then wait for news or the clock, and survive whatever a pass does.

A pass that raises is logged, told once as an event (repeats of the same words are not told again until a pass
succeeds), and retried with back-off; the news that comes meanwhile does not shorten it, so a broken pass can't spin.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from roadbed.control.state import State
from roadbed.control.store import Topic
from roadbed.control.store.event import append_event

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0

Sleep = Callable[[float], Awaitable[Any]]


async def run_loop(
    state: State,
    name: str,
    one_pass: Callable[[], Awaitable[float]],
    *topics: Topic,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Runs `one_pass` for ever; it returns the longest wait (s) before the next, which a topic's commit ends."""
    news = state.signals.listen(name, *topics)
    told = ""
    num_failures = 0
    try:
        while True:
            news.clear()
            try:
                wait_s = await one_pass()
            except Exception as error:  # noqa: BLE001 - the loop is the last resort: told, logged, retried
                num_failures += 1
                told = await _tell(state, name, error, told)
                await sleep(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(num_failures - 1, 10)))
                continue
            if num_failures:
                logger.info("%s works again after %d failures", name, num_failures)
            num_failures, told = 0, ""
            await _wait(news, wait_s)
    finally:
        state.signals.forget(name)


async def _wait(news: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await news.wait()
    except TimeoutError:
        return


async def _tell(state: State, name: str, error: Exception, told: str) -> str:
    text = f"{type(error).__name__}: {error}"
    logger.error("%s failed: %s", name, text, exc_info=error)
    if text == told:
        return told
    try:
        await asyncio.to_thread(_write, state, name, text)
    except Exception:  # the store itself may be what is broken; the log has both
        logger.exception("cannot record that %s failed", name)
    return text


def _write(state: State, name: str, text: str) -> None:
    with state.store.write("usage") as connection:
        append_event(connection, state.store.clock(), noun="loop", name=name, code="loop_failed", message=text[:2000])
