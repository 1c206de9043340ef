"""All the limits of one kind: by account, by sender, by workspace."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from daemon.queue.limiter import Rate, RateLimit
from daemon.queue.pace import Pace
from daemon.queue.quota import Quota

K = TypeVar("K", bound=Hashable)


class Asks(Protocol):
    """Takes the limits' questions to the database."""

    def add(self, key: str, limit: Pace | Quota, due: float) -> None:
        """That limit needs an answer by then. All daemons know it by that key."""


class LimitBook(Generic[K]):
    """One `RateLimit` per key, made when first asked for; `revise` looks all their rates up again."""

    def __init__(self, asks: Asks, name_of: Callable[[K], str], rate_of: Callable[[K], Rate]) -> None:
        """`name_of`: what all daemons call that limit."""
        self._asks = asks
        self._name_of = name_of
        self._rate_of = rate_of
        self._limits: dict[K, RateLimit] = {}

    def of(self, key: K) -> RateLimit:
        """The limit of that key."""
        limit = self._limits.get(key)
        if limit is None:
            name = self._name_of(key)
            limit = self._limits[key] = RateLimit(
                self._rate_of(key), lambda limit, due: self._asks.add(name, limit, due)
            )
        return limit

    def revise(self) -> None:
        """Looks all rates up again, after a reload."""
        for key, limit in self._limits.items():
            limit.change(self._rate_of(key))
