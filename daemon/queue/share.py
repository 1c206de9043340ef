"""Which lanes to lease from, and how many rows of each: the fetcher's decisions, without its effects."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from daemon.model import Channel, Lane, Priority

# Of what a batch takes from one workspace's channel, at least so much is left to a lower priority that waits.
_LOWER_SHARE = 0.1


class LaneBoard:
    """When each lane's next delivery is due, as far as is known, by the monotonic clock.

    A full look (`replace`) is the truth; notifications (`hint`) bring news in between. A lane that gave all
    it was asked for stays due; one that gave less is empty until the next news.
    """

    def __init__(self) -> None:
        self._due: dict[Lane, float] = {}
        self._turns: deque[Lane] = deque()  # round robin among lanes

    def replace(self, lanes: Mapping[Lane, float]) -> None:
        """All lanes with the time at which each is due."""
        for lane in lanes:
            if lane not in self._due:
                self._turns.append(lane)
        self._turns = deque(lane for lane in self._turns if lane in lanes)
        self._due = dict(lanes)

    def hint(self, lane: Lane, due: float) -> None:
        """A delivery of this lane is due then."""
        known = self._due.get(lane)
        if known is None:
            self._turns.append(lane)
        if known is None or due < known:
            self._due[lane] = due

    def leased(self, lane: Lane, asked: int, got: int) -> None:
        """What a lease from it brought."""
        if got < asked and lane in self._due:
            del self._due[lane]
            self._turns.remove(lane)

    def due(self, now: float) -> list[Lane]:
        """The lanes with something due, in the order of their turns; those served last come last."""
        return [lane for lane in self._turns if self._due[lane] <= now]

    def served(self, lanes: Iterable[Lane]) -> None:
        """Moves them to the end of the turns."""
        done = set(lanes)
        self._turns = deque([x for x in self._turns if x not in done] + [x for x in self._turns if x in done])

    def next_due(self, now: float) -> float | None:
        """When the next lane that is not yet due becomes so."""
        return min((due for due in self._due.values() if due > now), default=None)


@dataclass(frozen=True, slots=True)
class Ask:
    """So many rows of one lane, for one account."""

    lane: Lane
    account: str
    rows: int


def share(
    lanes: Iterable[Lane],
    *,
    room: Mapping[str, int],
    account_of: Callable[[int, Channel], str | None],
    allowance: Callable[[int], float],
    batch: int,
) -> list[Ask]:
    """Splits a batch among due lanes.

    `room`: rows each account can take. `account_of`: who carries a workspace's channel. `allowance`: segments
    a workspace's own limits let pass now, less what is already leased for it. Every lane gets an equal part
    of its account's room, at least one row, first come first served; lanes left out are first next time.
    What a workspace's limits allow goes to its higher priorities first, but for a tenth.
    """
    by_account: dict[str, list[Lane]] = {}
    for lane in lanes:
        account = account_of(lane.workspace_id, lane.channel)
        if account is not None and room.get(account, 0) > 0 and allowance(lane.workspace_id) >= 1:
            by_account.setdefault(account, []).append(lane)
    asks: list[Ask] = []
    for account, candidates in by_account.items():
        asks += _share_account(account, candidates, min(room[account], batch), allowance)
    return asks


def _share_account(
    account: str, lanes: list[Lane], room: int, allowance: Callable[[int], float]
) -> list[Ask]:
    chosen = lanes[:room]
    each = max(1, room // max(1, len(chosen)))
    by_workspace: dict[int, list[Lane]] = {}
    for lane in chosen:
        by_workspace.setdefault(lane.workspace_id, []).append(lane)
    asks: list[Ask] = []
    for workspace_id, mine in by_workspace.items():
        mine.sort(key=lambda lane: lane.priority)
        left = min(math.floor(min(allowance(workspace_id), 1e9)), each * len(mine))
        for position, lane in enumerate(mine):
            reserved = len(mine) - position - 1  # lanes still to come: each keeps a part
            keep = reserved * max(1, math.ceil(left * _LOWER_SHARE)) if left > reserved else 0
            rows = max(0, left - keep) if lane.priority == Priority.HIGH else min(each, max(0, left - keep))
            if rows:
                asks.append(Ask(lane, account, rows))
                left -= rows
    return asks
