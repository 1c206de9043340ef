"""All the limits of one daemon: by account, by sender, by workspace, each with this daemon's share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from daemon import clock
from daemon.queue.limiter import Rate, RateLimit

K = TypeVar("K", bound=Hashable)


class LimitBook(Generic[K]):
    """One `RateLimit` per key, made when first asked for; `revise` looks all their rates up again."""

    def __init__(
        self,
        rate_of: Callable[[K], Rate],
        share: Callable[[], float],
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        self._rate_of = rate_of
        self._share = share
        self._shared = share()
        self._monotonic = monotonic
        self._limits: dict[K, RateLimit] = {}

    def of(self, key: K) -> RateLimit:
        """The limit of that key, at this daemon's present share."""
        if self._share() != self._shared:
            self.revise()
        limit = self._limits.get(key)
        if limit is None:
            limit = self._limits[key] = RateLimit(self._rate_of(key).split(self._shared), self._monotonic())
        return limit

    def revise(self) -> None:
        """Looks all rates up again, after a reload or when daemons came or went."""
        self._shared = self._share()
        now = self._monotonic()
        for key, limit in self._limits.items():
            limit.change(self._rate_of(key).split(self._shared), now)
