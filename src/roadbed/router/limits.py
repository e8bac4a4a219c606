"""The arithmetic of ceilings: a rate limit as one integer, and calendar months.

A rate limit is kept as GCRA's theoretical arrival time (TAT) in nanoseconds: each unit moves it 60 s / limit into the
future, and a request fits while it stays within one minute of now. That is a bucket holding one minute's worth which
refills continuously, so any window of w seconds admits at most limit · (1 + w/60). One integer makes reservation and
settlement exact: settling adds cost(actual) − cost(reserved), whatever happened in between.
"""

import time
from calendar import timegm

MINUTE_NS = 60_000_000_000
_MAX_AHEAD_NS = 10 * MINUTE_NS
"""Debt beyond this is forgiven: it can only come from a clock that was set back."""


def cost_ns(amount: int, per_minute: int) -> int:
    """How far `amount` units move the TAT of a limit. Rounded down, so that `limit` units fit one minute exactly."""
    return amount * MINUTE_NS // per_minute


def backlog_ns(tat_ns: int, now_ns: int) -> int:
    """How much of the minute is taken: 0 = none, MINUTE_NS = all, more = debt after settling above the estimate."""
    return min(max(tat_ns - now_ns, 0), _MAX_AHEAD_NS)


def wait_ns(tat_ns: int, now_ns: int, cost: int) -> int:
    """0 when `cost` fits now, else how long until it does."""
    return max(0, backlog_ns(tat_ns, now_ns) + cost - MINUTE_NS)


def taken(tat_ns: int, now_ns: int, cost: int) -> int:
    """The TAT after `cost` was taken (negative: given back; never more than a full bucket results)."""
    return now_ns + max(0, backlog_ns(tat_ns, now_ns) + cost)


def settled(tat_ns: int, now_ns: int, reserved: int, actual: int) -> int:
    """The TAT after a reservation turned out to be `actual`."""
    return taken(tat_ns, now_ns, actual - reserved)


def remaining(tat_ns: int, now_ns: int, per_minute: int) -> int:
    """Units that fit now."""
    free_ns = MINUTE_NS - backlog_ns(tat_ns, now_ns)
    return max(0, free_ns * per_minute // MINUTE_NS)


def month_of(now: float) -> tuple[int, float]:
    """(month number = year · 12 + month − 1, Unix time at which it ends), in UTC."""
    moment = time.gmtime(now)
    following = (moment.tm_year, moment.tm_mon + 1) if moment.tm_mon < 12 else (moment.tm_year + 1, 1)
    return moment.tm_year * 12 + moment.tm_mon - 1, float(timegm((*following, 1, 0, 0, 0)))
