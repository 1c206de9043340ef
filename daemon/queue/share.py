"""Which lanes to lease from, and how many rows of each: the fetcher's decisions, without its effects."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from daemon.model import Channel, Lane, Priority

# Of what a batch takes from one workspace's channel, at least so much is left to a lower priority that waits.
_LOWER_SHARE = 0.1
# Where a workspace's limits let less pass than it has lanes, a lane stands back for higher ones so many times.
_PATIENCE = 9


class LaneBoard:
    """When each lane's next delivery is due, as far as is known, by the monotonic clock.

    A full look (`replace`) is the truth; notifications (`hint`) bring news in between. A lane that gave all
    it was asked for stays due; one that gave less is empty until the next news.
    """

    def __init__(self) -> None:
        self._due: dict[Lane, float] = {}
        self._turns: deque[Lane] = deque()  # round robin among lanes
        self._offered: list[Lane] = []
        self._passed: dict[Lane, int] = {}  # how often a lane stood back since it was served

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
        """The lanes with something due, in the order of their turns; those served last come last.

        The lanes of one workspace take their turns by priority, but one that has stood back often is first.
        """
        self._offered = [lane for lane in self._turns if self._due[lane] <= now]
        mine: dict[int, list[Lane]] = {}
        for lane in self._offered:
            mine.setdefault(lane.workspace_id, []).append(lane)
        if len(mine) == len(self._offered):
            return self._offered.copy()
        ranked = {workspace: iter(sorted(lanes, key=self._rank)) for workspace, lanes in mine.items()}
        return [next(ranked[lane.workspace_id]) for lane in self._offered]

    def served(self, lanes: Iterable[Lane]) -> None:
        """Moves them to the end of the turns. What was due and stood back for them has waited once more."""
        done = set(lanes)
        self._turns = deque([x for x in self._turns if x not in done] + [x for x in self._turns if x in done])
        highest: dict[int, int] = {}
        for lane in done:
            highest[lane.workspace_id] = min(lane.priority, highest.get(lane.workspace_id, lane.priority))
        stood_back = [
            lane
            for lane in self._offered
            if lane not in done and highest.get(lane.workspace_id, lane.priority) < lane.priority
        ]
        for lane in stood_back:
            self._passed[lane] = self._passed.get(lane, 0) + 1
        self._passed = {k: v for k, v in self._passed.items() if k in self._due and k not in done}

    def _rank(self, lane: Lane) -> tuple[bool, int]:
        return self._passed.get(lane, 0) < _PATIENCE, lane.priority

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
    What a workspace's limits allow goes to its higher priorities first, but for a tenth; where it is not even
    one for each of its lanes, to the first of them.
    """
    by_account: dict[str, list[Lane]] = {}
    left: dict[int, int] = {}
    elsewhere: dict[int, int] = {}  # one row for each of a workspace's lanes on accounts still to come
    for lane in lanes:
        workspace = lane.workspace_id
        account = account_of(workspace, lane.channel)
        if account is None or room.get(account, 0) <= 0:
            continue
        if workspace not in left:
            left[workspace] = math.floor(max(0.0, min(allowance(workspace), 1e9)))
            elsewhere[workspace] = 0
        if elsewhere[workspace] < left[workspace]:
            elsewhere[workspace] += 1
            by_account.setdefault(account, []).append(lane)
    asks: list[Ask] = []
    for account, candidates in by_account.items():
        for lane in candidates:
            elsewhere[lane.workspace_id] -= 1
        asks += _share_account(account, candidates, min(room[account], batch), left, elsewhere)
    return asks


def _share_account(
    account: str, lanes: list[Lane], room: int, left: dict[int, int], elsewhere: Mapping[int, int]
) -> list[Ask]:
    """`left` is what each workspace may still have, of which so much is kept for its lanes `elsewhere`."""
    chosen = lanes[:room]
    each = max(1, room // max(1, len(chosen)))
    by_workspace: dict[int, list[Lane]] = {}
    for lane in chosen:
        by_workspace.setdefault(lane.workspace_id, []).append(lane)
    asks: list[Ask] = []
    for workspace, mine in by_workspace.items():
        mine.sort(key=lambda lane: lane.priority)
        mine_left = min(left[workspace] - elsewhere[workspace], each * len(mine))
        for position, lane in enumerate(mine):
            reserved = len(mine) - position - 1  # lanes still to come: each keeps a part
            keep = min(reserved * max(1, math.ceil(mine_left * _LOWER_SHARE)), mine_left - 1)
            rows = mine_left - keep if lane.priority == Priority.HIGH else min(each, mine_left - keep)
            asks.append(Ask(lane, account, rows))
            mine_left -= rows
            left[workspace] -= rows
    return asks
