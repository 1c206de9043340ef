"""When quiet hours let a recipient be written to, as slots; and what an account can carry in each slot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.config import Config
from daemon.model import Channel
from daemon.planning.slot_board import Opening
from daemon.queue.rates import account_rate, sender_rate, workspace_rate
from daemon.rules.answers import Allow, Defer
from daemon.rules.judgement import Rules
from daemon.rules.quiet_hours import quiet_hours
from daemon.rules.zones import country_of_number, whereabouts

# A slot is as short as fits the longest message.
_SLOT_SECONDS = (300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600)
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Slots:
    """A row of slots of equal length; slot 0 is the one of `now`."""

    now: datetime
    seconds: int
    count: int

    @property
    def _first(self) -> int:
        return int(self.now.timestamp() // self.seconds)

    def of(self, at: datetime) -> int:
        """The slot of a moment; negative in the past."""
        return int(at.timestamp() // self.seconds) - self._first

    def begin(self, slot: int) -> datetime:
        """When a slot begins."""
        return datetime.fromtimestamp((self._first + slot) * self.seconds, UTC)

    def capacity(self, per_hour: float, taken: Mapping[int, int]) -> list[int]:
        """Segments by slot, of so many an hour, beside those that are taken: what these do not find in their slot
        they take of the next ones.
        """
        each = per_hour * self.seconds / _HOUR
        found, over = [], 0
        for slot in range(self.count):
            nth = self._first + slot
            whole = int((nth + 1) * each) - int(nth * each)
            if slot == 0:
                whole = int(whole * (self.begin(1) - self.now).total_seconds() / self.seconds)
            over += taken.get(slot, 0)
            found.append(max(0, whole - over))
            over = max(0, over - whole)
        return found


def slot_seconds(per_hour: float, longest: int) -> int:
    """How long slots are such that the longest message, in segments, fits into each."""
    return next((s for s in _SLOT_SECONDS if per_hour * s / _HOUR >= longest), _SLOT_SECONDS[-1])


def planned_per_hour(config: Config, account: str, workspaces: Sequence[str]) -> float:
    """Segments an hour that an account may be given for these workspaces: what it says itself, but no more than its
    limits and those of its senders and workspaces let go.
    """
    account_, senders = account_rate(config, account), set()
    for name in workspaces:
        own = config.workspaces.get(name)
        senders.add(own.sender if own else None)
    limits = [
        config.platforms[account].planned_per_hour,
        account_.per_second and account_.per_second * _HOUR,
        account_.per_minute and account_.per_minute * 60,
    ]
    sender = sender_rate(config)
    limits.append(sender.per_second and sender.per_second * _HOUR * len(senders))
    limits.append(sender.per_minute and sender.per_minute * 60 * len(senders))
    rates = [workspace_rate(config, name) for name in workspaces]
    for speeds, seconds in (([r.per_second for r in rates], _HOUR), ([r.per_minute for r in rates], 60)):
        known = [speed for speed in speeds if speed is not None]
        if known and len(known) == len(speeds):
            limits.append(sum(known) * seconds)
    return min(limit for limit in limits if limit is not None)


def opening(rules: Rules, channel: Channel, to: str, zone: str | None, slots: Slots) -> Opening | None:
    """The slots that quiet hours leave wholly open to who is at `to`; None: all of them, or nothing is known of them.
    Whether a rule forbids it altogether is asked when it is due.
    """
    hours = rules.hours_in.get(country_of_number(to) or "", rules.hours) if rules.hours_in else rules.hours
    if hours is None:
        return None
    where = whereabouts(zone, channel, to)
    at, end = slots.now, slots.begin(slots.count)
    begins, ends = [], []
    while at < end:
        answer = quiet_hours(hours, where, at, rules.fallbacks).answer
        if isinstance(answer, Defer):
            at = answer.until
            continue
        if not isinstance(answer, Allow) or answer.until is None:
            return None
        # From the first whole slot; the one of now is begun already.
        begin = 0 if at == slots.now else slots.of(at + timedelta(seconds=slots.seconds - 1))
        until = min(slots.of(answer.until), slots.count)
        if begin < until:
            begins.append(begin)
            ends.append(until)
        at = answer.until
    return Opening(tuple(begins), tuple(ends))
