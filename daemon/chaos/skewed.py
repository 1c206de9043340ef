"""`python -m daemon.chaos.skewed MINUTES …` is `duly …` on a machine whose wall clock is wrong by so many minutes.

Only the wall clock: the monotonic ones are the kernel's, as they would be there.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import time
from datetime import timedelta, tzinfo


def skew(minutes: float) -> None:
    """Shifts what `time` and `datetime` say of now, for whatever is imported after this."""
    seconds = minutes * 60.0
    real_time, real_time_ns, real = time.time, time.time_ns, datetime.datetime

    class Kind(type):
        """A true datetime is an instance too: drivers in C make those."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

    class Skewed(datetime.datetime, metaclass=Kind):
        """`datetime`, off by so much; what it makes are true datetimes."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            """The wrong time."""
            return real.now(tz) + timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> datetime.datetime:  # type: ignore[override]
            """The wrong time."""
            return cls.now(datetime.UTC).replace(tzinfo=None)

    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)
    datetime.datetime = Skewed  # type: ignore[misc]


def main() -> None:
    """Runs the command line under the wrong clock."""
    # Compiled against the size of the true datetime; it reads no wall clock.
    importlib.import_module("asyncpg")
    skew(float(sys.argv.pop(1)))
    from daemon.__main__ import main as duly

    duly()


if __name__ == "__main__":
    main()
