"""The one place that reads the machine's clocks; whoever needs time takes these as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable

Monotonic = Callable[[], float]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Seconds that only grow, and also count while the machine or the process sleeps.

    A lease is judged by this clock: a suspended daemon must see on waking that its time has run out.
    """
    return time.clock_gettime(_CLOCK)
