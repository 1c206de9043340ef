"""Which lanes to lease from, and how many rows of each: the fetcher's decisions, without its effects."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from daemon.model import Channel, Lane, Priority
from daemon.queue.ready import LOWER_TURNS

LOWER_SHARE = 0.1
"""Of what a batch takes from one workspace's channel, at least so much is left to a lower priority that waits."""
# Where what a workspace's limits let pass has no whole tenth, a lane stands back for so many rows of higher ones.
_PATIENCE = 9
# How much the last lease says about the size of a lane's messages.
_NEWS = 0.3


class LaneBoard:
    """When each lane's next delivery is due, as far as is known, by the monotonic clock.

    A full look (`replace`) is the truth; notifications (`hint`) bring news in between. A lane that gave all
    it was asked for stays due; one that gave less is empty until the next news.
    """

    def __init__(self) -> None:
        self._due: dict[Lane, float] = {}
        self._turns: deque[Lane] = deque()  # round robin among lanes
        self._offered: list[Lane] = []
        self._passed: dict[Lane, int] = {}  # for how many rows it stood back since it was served
        self._sizes: dict[Lane, float] = {}  # segments a row, as leased lately

    def replace(self, lanes: Mapping[Lane, float]) -> None:
        """All lanes with the time at which each is due."""
        for lane in lanes:
            if lane not in self._due:
                self._turns.append(lane)
        self._turns = deque(lane for lane in self._turns if lane in lanes)
        self._due = dict(lanes)
        self._sizes = {lane: size for lane, size in self._sizes.items() if lane in lanes}

    def hint(self, lane: Lane, due: float) -> None:
        """A delivery of this lane is due then."""
        known = self._due.get(lane)
        if known is None:
            self._turns.append(lane)
        if known is None or due < known:
            self._due[lane] = due

    def size(self, lane: Lane) -> float:
        """Segments a row of this lane probably has."""
        return self._sizes.get(lane, 1.0)

    def leased(self, lane: Lane, asked: int, got: int, segments: int) -> None:
        """What a lease from it brought: so many rows, of so many segments in all."""
        if got:
            size = segments / got
            self._sizes[lane] = size + (1 - _NEWS) * (self._sizes.get(lane, size) - size)
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

    def served(self, rows: Mapping[Lane, int]) -> None:
        """Moves lanes that had so many rows to the end of the turns. What was due and stood back for them has waited."""
        again = [lane for lane in self._turns if lane in rows]
        # The first had what could not be divided: next time it is another's.
        self._turns = deque([lane for lane in self._turns if lane not in rows] + again[1:] + again[:1])
        had: dict[int, list[tuple[int, int]]] = {}  # by workspace
        for lane, count in rows.items():
            had.setdefault(lane.workspace_id, []).append((lane.priority, count))
        for lane in self._offered:
            if lane not in rows and lane.workspace_id in had:
                higher = sum(count for priority, count in had[lane.workspace_id] if priority < lane.priority)
                self._passed[lane] = self._passed.get(lane, 0) + higher
        self._passed = {k: v for k, v in self._passed.items() if k in self._due and k not in rows}

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
    size_of: Callable[[Lane], float],
    batch: int,
) -> list[Ask]:
    """Splits a batch among due lanes.

    `room`: rows each account can take. `account_of`: who carries a workspace's channel. `allowance`: segments
    a workspace's own limits let pass now, less what is already leased for it. `size_of`: segments a row of a lane has.
    An account's room goes to the highest priority that waits, but for what the lower ones keep. The lanes of one
    priority get as many segments each, at least one row, first come first served; lanes left out are first next time.
    What a workspace's limits allow goes to its higher priorities first, but for a tenth; where that is less than a
    row, to those that come first.
    """
    by_account: dict[str, list[Lane]] = {}
    left: dict[int, int] = {}
    first: dict[int, int] = {}  # the priority of a workspace's first lane
    elsewhere: dict[int, int] = {}  # one row for each of a workspace's lanes on accounts still to come
    for lane in lanes:
        workspace = lane.workspace_id
        account = account_of(workspace, lane.channel)
        if account is None or room.get(account, 0) <= 0:
            continue
        if workspace not in left:
            left[workspace] = math.floor(max(0.0, min(allowance(workspace), 1e9)))
            elsewhere[workspace] = 0
            first[workspace] = lane.priority
        whole = left[workspace] * LOWER_SHARE >= 1
        if elsewhere[workspace] < left[workspace] and (whole or lane.priority <= first[workspace]):
            elsewhere[workspace] += 1
            by_account.setdefault(account, []).append(lane)

    def most_of(lane: Lane) -> int:
        return left[lane.workspace_id] - elsewhere[lane.workspace_id]

    asks: list[Ask] = []
    for account, candidates in by_account.items():
        for lane in candidates:
            elsewhere[lane.workspace_id] -= 1
        asks += _share_account(
            account, _parts(candidates, min(room[account], batch), size_of, most_of), left, elsewhere
        )
    return asks


def _parts(
    lanes: list[Lane], room: int, size_of: Callable[[Lane], float], most_of: Callable[[Lane], int]
) -> dict[Lane, int]:
    """How many rows each lane may have of an account's room; no more than `most_of`, which is at least one."""
    tiers = [
        [lane for lane in lanes if lane.priority == priority]
        for priority in sorted({lane.priority for lane in lanes})
    ]
    if room < len(tiers):
        return dict.fromkeys(lanes[:room], 1)
    lower = max(1, int(room * LOWER_TURNS / max(1, len(tiers) - 1)))
    keeps = [min(lower, sum(map(most_of, tier))) for tier in tiers[1:]]
    parts: dict[Lane, int] = {}
    spare = room - sum(keeps)
    for tier, keep in zip(tiers, [0, *keeps], strict=True):
        given = _fill(tier, spare + keep, size_of, most_of)
        spare += keep - sum(given.values())
        parts |= given
    return parts


def _fill(
    tier: list[Lane], rows: int, size_of: Callable[[Lane], float], most_of: Callable[[Lane], int]
) -> dict[Lane, int]:
    """As many segments for each; what one may not have the others have."""
    if rows <= len(tier):
        return dict.fromkeys(tier[:rows], 1)
    weights = {lane: 1 / max(1.0, size_of(lane)) for lane in tier}
    together, more = sum(weights.values()), float(rows - len(tier))
    parts = {}
    for lane in sorted(tier, key=lambda lane: (most_of(lane) - 1) / weights[lane]):
        extra = min(most_of(lane) - 1, more * weights[lane] / max(together, weights[lane]))
        parts[lane] = 1 + extra
        more, together = more - extra, together - weights[lane]
    return _whole({lane: parts[lane] for lane in tier}, int(sum(parts.values()) + 1e-6))


def _whole(parts: Mapping[Lane, float], total: int) -> dict[Lane, int]:
    """Rounded so that they come to the total. A row that several have an equal right to is the first one's."""
    whole = {lane: int(part + 1e-9) for lane, part in parts.items()}
    nearest = sorted(parts, key=lambda lane: whole[lane] - parts[lane])
    for lane in nearest[: total - sum(whole.values())]:
        whole[lane] += 1
    return whole


def _share_account(
    account: str, parts: Mapping[Lane, int], left: dict[int, int], elsewhere: Mapping[int, int]
) -> list[Ask]:
    """`left` is what each workspace may still have, of which so much is kept for its lanes `elsewhere`."""
    by_workspace: dict[int, list[Lane]] = {}
    for lane in parts:
        by_workspace.setdefault(lane.workspace_id, []).append(lane)
    asks: list[Ask] = []
    for workspace, mine in by_workspace.items():
        mine.sort(key=lambda lane: lane.priority)
        mine_left = min(left[workspace] - elsewhere[workspace], sum(parts[lane] for lane in mine))
        for position, lane in enumerate(mine):
            reserved = len(mine) - position - 1  # lanes still to come: each keeps a part
            keep = min(reserved * max(1, math.ceil(mine_left * LOWER_SHARE)), mine_left - 1)
            rows = mine_left - keep if lane.priority == Priority.HIGH else min(parts[lane], mine_left - keep)
            asks.append(Ask(lane, account, rows))
            mine_left -= rows
            left[workspace] -= rows
    return asks
