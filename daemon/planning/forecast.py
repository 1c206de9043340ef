"""When the queue will be empty and when a cohort ends: what is queued, what the TOML allows and what the daemons
have done lately, put together for `capacity.flow`, and its answer told by workspace, account and cohort. Pure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from daemon.config import Config
from daemon.model import Channel
from daemon.planning.capacity import EARLY_SECONDS, Fate, Piece, Supply, flow
from daemon.planning.cohorts import Cohort
from daemon.planning.gates import Limit
from daemon.queue.rates import account_rate, sender_rate, workspace_rate
from daemon.store.backlog import Lot

K = TypeVar("K", bound=Hashable)

# A lot whose deliveries become due or expire over a time is followed in so many pieces, if there are few lots.
_MOST_PARTS = 4
_MOST_PIECES = 20_000
# What has gone in the last so many spans of ten seconds is an account's speed, if something waited all the time;
# and it goes before what the limits allow if it is less than this part of that.
_MEASURED_SPANS = int(EARLY_SECONDS / 10)
_SLOWER = 0.85
# Longer than this is for ever, and no date.
_LONGEST_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the daemons and of what they have done."""

    alive: int  # daemons
    states: Mapping[str, str] = field(default_factory=dict)  # of the accounts, as a daemon says; else ok
    # Segments by workspace and account: sent in the last ten seconds, in the ten before, and so on for a minute.
    sent: Mapping[tuple[str, str | None], Sequence[int]] = field(default_factory=dict)
    call_seconds: Mapping[str, float] = field(default_factory=dict)  # by account
    # Segments a second that each daemon keeps to now for an account, as its platform bears them; None: no limit.
    present: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The future of a part of the queue. Seconds are from now; None: nobody can say, and `why` says why."""

    messages: int = 0
    segments: int = 0
    first_due_seconds: float | None = None
    empty_seconds: float | None = 0.0  # until nothing that is due waits
    ends_seconds: float | None = 0.0  # until all has gone, also what is not due yet
    expiring: int = 0  # messages that expire before their turn
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook of all, of each workspace and account that has something queued, and of each cohort."""

    at: datetime
    total: Outlook
    workspaces: Mapping[str, Outlook]
    accounts: Mapping[str, Outlook]
    cohorts: Sequence[tuple[Cohort, Outlook]]

    def moment(self, seconds: float | None) -> datetime | None:
        """The time that is so many seconds from its now."""
        return None if seconds is None else self.at + timedelta(seconds=min(seconds, _LONGEST_SECONDS))


def forecast(
    at: datetime,
    lots: Sequence[Lot],
    edges: Sequence[datetime],
    cohorts: Sequence[Cohort],
    config: Config,
    known: Known,
) -> Forecast:
    """`lots` have been cut at `edges`, among which are the beginnings and ends of `cohorts`."""
    parts = min(_MOST_PARTS, max(1, _MOST_PIECES // max(1, len(lots))))
    whys = {key: _why_not(*key, config, known) for key in {(lot.workspace, lot.channel) for lot in lots}}
    moving = [lot for lot in lots if whys[lot.workspace, lot.channel] is None]
    pieces = [(lot, piece) for lot in moving for piece in _pieces(lot, parts, config)]
    fates = _flow([piece for _, piece in pieces], config, known)
    ends: list[_End] = [_End(lot, piece, fate) for (lot, piece), fate in zip(pieces, fates, strict=True)]
    ends += [
        _End(lot, piece, None, whys[lot.workspace, lot.channel])
        for lot in lots
        if whys[lot.workspace, lot.channel] is not None
        for piece in _pieces(lot, 1, config)
    ]
    ends.sort(key=lambda end: end.piece.due_seconds)
    return Forecast(
        at,
        _outlook(ends),
        _outlooks(ends, lambda end: end.piece.workspace),
        _outlooks(ends, lambda end: end.piece.account),
        [(cohort, _outlook(_of(cohort, ends, edges))) for cohort in cohorts],
    )


@dataclass(frozen=True, slots=True)
class _End:
    lot: Lot
    piece: Piece
    fate: Fate | None
    why: str | None = None


def _why_not(workspace: str, channel: str, config: Config, known: Known) -> str | None:
    """Why nobody can say when this goes; None where it goes."""
    account = config.account_for(workspace, Channel(channel))
    if account not in config.platforms:
        return f"no account carries {channel} of {workspace}"
    if not config.platforms[account].enabled:
        return f"the account {account} is disabled"
    if known.alive == 0:
        return "no daemon is alive"
    state = known.states.get(account, "ok")
    return None if state.startswith("ok") else f"the account {account}: {state}"


def _pieces(lot: Lot, parts: int, config: Config) -> list[Piece]:
    """A lot as pieces that each become due at one moment and expire at one."""
    due = lot.last_due_seconds - lot.first_due_seconds
    first, last = lot.first_expiry_seconds, lot.last_expiry_seconds
    spread = (due > 1 and lot.last_due_seconds > 0) or (
        first is not None and last is not None and last - first > 1
    )
    many = min(parts, lot.messages) if spread else 1
    own = config.workspaces.get(lot.workspace)
    found = []
    for nth in range(many):
        part = nth / (many - 1) if many > 1 else 0.5
        expires = None if first is None or last is None else first + (last - first) * part
        found.append(
            Piece(
                workspace=lot.workspace,
                account=config.account_for(lot.workspace, Channel(lot.channel)) or "",
                sender=(own and own.sender) or "",
                priority=lot.priority,
                messages=lot.messages / many,
                segments=lot.segments / many,
                due_seconds=lot.first_due_seconds + due * part,
                expires_seconds=expires,
            )
        )
    return found


def _flow(pieces: Sequence[Piece], config: Config, known: Known) -> Sequence[Fate]:
    """By the limits; once more where what has gone lately says that an account is slower than these."""
    supply = _supply(pieces, config, known)
    flowed = flow(pieces, supply)
    slower = dict(supply.accounts)
    for account, expected in flowed.early.items():
        measured = _measured(account, pieces, known)
        if measured is not None and measured < _SLOWER * expected:
            limit = supply.accounts[account]
            slower[account] = replace(limit, rate=replace(limit.rate, per_second=measured))
    if slower == supply.accounts:
        return flowed.fates
    return flow(pieces, replace(supply, accounts=slower)).fates


def _measured(account: str, pieces: Iterable[Piece], known: Known) -> float | None:
    """Segments a second that have gone lately; None where nothing waited all the time, or nothing went."""
    waited = any(p.due_seconds <= -EARLY_SECONDS for p in pieces if p.account == account)
    spans = _together(of for (_, name), of in known.sent.items() if name == account)[:_MEASURED_SPANS]
    if not waited or len(spans) < _MEASURED_SPANS or not all(spans):
        return None
    return sum(spans) / EARLY_SECONDS


def _supply(pieces: Sequence[Piece], config: Config, known: Known) -> Supply:
    """The limits of all that the pieces pass."""
    by_sender: dict[tuple[str, str], list[Sequence[int]]] = defaultdict(list)
    by_account: dict[str, list[Sequence[int]]] = defaultdict(list)
    by_workspace: dict[str, list[Sequence[int]]] = defaultdict(list)
    for (workspace, account), sent in known.sent.items():
        own = config.workspaces.get(workspace)
        by_workspace[workspace].append(sent)
        by_account[account or ""].append(sent)
        by_sender[account or "", (own and own.sender) or ""].append(sent)
    senders = {(piece.account, piece.sender) for piece in pieces}
    return Supply(
        {name: _account(name, _together(by_account[name]), config, known) for name, _ in senders},
        {key: Limit(sender_rate(config), _together(by_sender[key])) for key in senders},
        {
            name: Limit(workspace_rate(config, name), _together(by_workspace[name]))
            for name in {piece.workspace for piece in pieces}
        },
    )


def _account(name: str, sent: Sequence[int], config: Config, known: Known) -> Limit:
    rate, present = account_rate(config, name), known.present.get(name)
    if present is not None:
        rate = replace(rate, per_second=min(present * known.alive, rate.per_second or math.inf))
    answers = known.call_seconds.get(name)
    calls = None if not answers else known.alive * config.platforms[name].concurrency / answers
    return Limit(rate, sent, calls, answers or 0.0)


def _together(spans: Iterable[Sequence[int]]) -> list[int]:
    return [sum(of) for of in zip(*spans, strict=True)]


def _of(cohort: Cohort, ends: Iterable[_End], edges: Sequence[datetime]) -> list[_End]:
    until = edges.index(cohort.until) + 1
    since = 0 if cohort.since is None else edges.index(cohort.since) + 1
    return [
        end
        for end in ends
        if since <= end.lot.slot < until
        and end.lot.meant
        and cohort.workspace in (None, end.lot.workspace)
        and cohort.priority in (None, end.lot.priority)
    ]


def _outlooks(ends: Iterable[_End], key: Callable[[_End], K]) -> dict[K, Outlook]:
    groups: dict[K, list[_End]] = defaultdict(list)
    for end in ends:
        groups[key(end)].append(end)
    return {name: _outlook(of) for name, of in groups.items()}


def _outlook(ends: Sequence[_End]) -> Outlook:
    """Of pieces in the order in which they are due."""
    if not ends:
        return Outlook()
    whys = [end.why for end in ends if end.why is not None]
    return Outlook(
        messages=round(sum(end.piece.messages for end in ends)),
        segments=round(sum(end.piece.segments for end in ends)),
        first_due_seconds=ends[0].piece.due_seconds,
        empty_seconds=_empty(ends),
        ends_seconds=None if whys else max(end.fate.ends_seconds for end in ends if end.fate is not None),
        expiring=round(sum(end.fate.expired for end in ends if end.fate is not None)),
        why=whys[0] if whys else None,
    )


def _empty(ends: Iterable[_End]) -> float | None:
    """When nothing that is due by then waits any more."""
    until = 0.0
    for end in ends:
        if end.piece.due_seconds > until:
            break
        if end.fate is None:
            return None
        until = max(until, end.fate.ends_seconds)
    return until
