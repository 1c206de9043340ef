"""Logins as lines of the audit: few enough that nobody who guesses passwords can fill the disk with them."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from daemon import clock
from daemon.store.audit import Act, Note

log = structlog.get_logger(__name__)

_FAILURE_SECONDS = 60.0
_SUCCESS_SECONDS = 3600.0
# Guessers told apart, and logins remembered.
_MOST_PEERS = 20
_MOST_LOGINS = 1000
_OTHERS = "others"


class Logins:
    """At most one line a minute for each network address that fails, with how often; twenty addresses are told
    apart, all more are one. A browser logs in with every request: a success is a line once an hour for each
    address and name.
    """

    def __init__(self, note: Callable[[Note], None], *, monotonic: clock.Monotonic = clock.monotonic) -> None:
        self._note = note
        self._monotonic = monotonic
        self._told: dict[str, float] = {}  # when there was last a line of this peer's failures
        self._untold: dict[str, int] = {}  # its failures since
        self._entered: dict[tuple[str, str], float] = {}  # when there was last a line of this success

    def failed(self, peer: str) -> None:
        """Somebody gave a wrong name or password. `peer`: the network address that they came from."""
        self.flush()
        if peer not in self._told and len(self._told) >= _MOST_PEERS:
            peer = _OTHERS
        self._untold[peer] = self._untold.get(peer, 0) + 1
        if peer not in self._told:
            self._tell(peer)

    def succeeded(self, peer: str, who: str) -> None:
        """Somebody gave the right name and password."""
        now, key = self._monotonic(), (peer, who)
        if now - self._entered.get(key, float("-inf")) < _SUCCESS_SECONDS:
            return
        self._entered.pop(key, None)
        if len(self._entered) >= _MOST_LOGINS:
            del self._entered[next(iter(self._entered))]
        self._entered[key] = now
        self._note(Note(who, Act.LOGIN_SUCCEEDED, {"peer": peer}))

    def flush(self, *, everything: bool = False) -> None:
        """Tells what has been counted for a minute, and forgets who has been quiet for one. At the end: everything."""
        now = self._monotonic()
        for peer in [peer for peer, at in self._told.items() if everything or now - at >= _FAILURE_SECONDS]:
            del self._told[peer]
            if peer in self._untold:
                self._tell(peer)

    def _tell(self, peer: str) -> None:
        attempts = self._untold.pop(peer)
        self._told[peer] = self._monotonic()
        log.warning("login refused", peer=peer, attempts=attempts)
        self._note(Note("unknown", Act.LOGIN_FAILED, {"peer": peer, "attempts": attempts}))
