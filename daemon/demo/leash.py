"""`python -m daemon.demo.leash …` is `duly …` that ends in order as soon as its stdin ends.

Whoever holds the other end of that pipe may die as it likes: nothing is left running.
"""

from __future__ import annotations

import os
import signal
import threading

from daemon.__main__ import main


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    main()
