"""How what is queued will flow: the daemons' work as a fluid, followed step by step into the future. Pure.

What flows are segments, in lanes (workspace × account × sender × priority) that are each first come, first
served. In each step of time the limits of account, sender and workspace let so much pass (`gates`), and it is
shared as the daemons share it (`sharing`). Steps are short where something changes and grow while nothing does, so
that a week costs no more than a minute. A message's end is when its lane's flow has passed it.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from daemon.planning.gates import NO_LIMIT, Gate, Limit
from daemon.planning.sharing import Want, share_account, share_sender, share_workspace

K = TypeVar("K", bound=Hashable)

# A step is at most this part of the time since something came.
_GROWTH = 0.02
# The work of a forecast, as lanes × steps; fewer lanes are followed in finer steps, within these bounds.
_MOST_WORK = 150_000
_FEWEST_STEPS, _MOST_STEPS = 50, 2_000
_SHORTEST_STEP_SECONDS = 1e-3
# How much goes at first is told apart, to be compared with what has gone lately.
EARLY_SECONDS = 30.0
# Less than this is rounding.
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Piece:
    """Deliveries of one lane that become due at one moment and expire at one; times are seconds from now."""

    workspace: str
    account: str
    sender: str
    priority: int
    messages: float
    segments: float
    due_seconds: float = 0.0  # negative: due already
    expires_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a piece: when the last of it has gone, and how many messages expire unsent."""

    ends_seconds: float
    expired: float = 0.0


@dataclass(frozen=True, slots=True)
class Supply:
    """The limits by name; what is not named has none."""

    accounts: Mapping[str, Limit] = field(default_factory=dict)
    senders: Mapping[tuple[str, str], Limit] = field(default_factory=dict)  # by account and sender
    workspaces: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flowed:
    """The fate of each piece, in their order, and how fast each account sends at first: segments a second, while
    it has something to send, within `EARLY_SECONDS`.
    """

    fates: Sequence[Fate]
    early: Mapping[str, float]


def flow(pieces: Sequence[Piece], supply: Supply) -> Flowed:
    """Follows the pieces until all have gone or expired."""
    followed = _Flow(pieces, supply)
    fates = followed.run()
    return Flowed(
        fates, {name: sent / seconds for name, (sent, seconds) in followed.early.items() if seconds}
    )


@dataclass(slots=True, eq=False)
class _Lane:
    """A lane's pieces in the order they are due: those before `head` are gone, those before `arrived` are due."""

    workspace: str
    account: str
    sender: tuple[str, str]
    priority: int
    nths: list[int]
    head: int = 0
    arrived: int = 0
    waits: float = 0.0  # segments due and not gone


class _Flow:
    """One forecast under way. What is told of a piece is kept by its place among them."""

    def __init__(self, pieces: Sequence[Piece], supply: Supply) -> None:
        self._pieces = pieces
        self._supply = supply
        self._left = [piece.segments for piece in pieces]
        self._ends = [max(0.0, piece.due_seconds) for piece in pieces]
        self._expired = [0.0] * len(pieces)
        self._lanes = _lanes(pieces)
        self._lane_of = {nth: lane for lane in self._lanes for nth in lane.nths}
        self._active: dict[int, _Lane] = {}
        self._coming = [(pieces[lane.nths[0]].due_seconds, nth) for nth, lane in enumerate(self._lanes)]
        heapq.heapify(self._coming)
        expiring = [(p.expires_seconds, nth) for nth, p in enumerate(pieces) if p.expires_seconds is not None]
        self._expiring = sorted(expiring, reverse=True)  # the next is the last
        self._accounts = _gates(pieces, supply.accounts, lambda p: p.account)
        self._senders = _gates(pieces, supply.senders, lambda p: (p.account, p.sender))
        self._workspaces = _gates(pieces, supply.workspaces, lambda p: p.workspace)
        self._shortest = self._shortest_step()
        self.early = dict.fromkeys(self._accounts, (0.0, 0.0))  # segments, and seconds with something to send

    def run(self) -> list[Fate]:
        """Follows it to its end."""
        at = began = 0.0
        while True:
            if self._arrive(at):
                began = at
            self._expire(at)
            if self._active:
                seconds = max(self._shortest, _GROWTH * (at - began))
                seconds = min(seconds, max(self._shortest, self._next_change() - at))
                self._step(at, seconds)
                at += seconds
            elif self._coming:
                at = self._coming[0][0]
            else:
                return self._fates()

    def _fates(self) -> list[Fate]:
        fates = []
        for piece, end, expired in zip(self._pieces, self._ends, self._expired, strict=True):
            answered = self._supply.accounts.get(piece.account, NO_LIMIT).call_seconds
            fates.append(Fate(end + (answered if expired < piece.messages else 0.0), expired))
        return fates

    def _next_change(self) -> float:
        """When something comes or expires."""
        coming = self._coming[0][0] if self._coming else math.inf
        return min(coming, self._expiring[-1][0] if self._expiring else math.inf)

    def _shortest_step(self) -> float:
        """Such that there are not too many: a part of what the slowest limit needs for all that it has to pass."""
        pieces, supply = self._pieces, self._supply
        steps = min(_MOST_STEPS, max(_FEWEST_STEPS, _MOST_WORK // max(1, len(self._lanes))))
        return max(
            _SHORTEST_STEP_SECONDS,
            _longest(pieces, supply.accounts, lambda p: p.account) / steps,
            _longest(pieces, supply.senders, lambda p: (p.account, p.sender)) / steps,
            _longest(pieces, supply.workspaces, lambda p: p.workspace) / steps,
        )

    def _arrive(self, at: float) -> bool:
        """Lets in what is due. Returns whether something was."""
        came = False
        while self._coming and self._coming[0][0] <= at:
            nth = heapq.heappop(self._coming)[1]
            lane = self._lanes[nth]
            lane.waits += self._left[lane.nths[lane.arrived]]
            lane.arrived += 1
            if lane.arrived < len(lane.nths):
                heapq.heappush(self._coming, (self._pieces[lane.nths[lane.arrived]].due_seconds, nth))
            if lane.waits > _NOTHING:
                self._active[nth] = lane
                came = True
        return came

    def _expire(self, at: float) -> None:
        """Takes away what is not sent by its time."""
        while self._expiring and self._expiring[-1][0] <= at:
            when, nth = self._expiring.pop()
            left, piece, lane = self._left[nth], self._pieces[nth], self._lane_of[nth]
            if left <= 0:
                continue
            self._expired[nth] = left * piece.messages / piece.segments
            self._ends[nth] = max(0.0, when)
            self._left[nth] = 0.0
            if nth in lane.nths[lane.head : lane.arrived]:
                lane.waits -= left
        self._retire(at)

    def _retire(self, at: float) -> None:
        """Forgets lanes in which nothing is left but rounding."""
        for number in [n for n, lane in self._active.items() if lane.waits <= _NOTHING]:
            lane = self._active.pop(number)
            for nth in lane.nths[lane.head : lane.arrived]:
                if self._left[nth] > 0:
                    self._left[nth], self._ends[nth] = 0.0, max(self._ends[nth], at)
            lane.head, lane.waits = lane.arrived, 0.0

    def _step(self, at: float, seconds: float) -> None:
        """Shares out what passes in it, and moves the lanes on."""
        lanes = list(self._active.values())
        wants = [Want(lane.priority, self._size(lane), lane.waits) for lane in lanes]
        for gate, group in _grouped(lanes, wants, self._workspaces, lambda lane: lane.workspace):
            if gate.limits:
                share_workspace(group, gate.passes(at, seconds))
        for gate, group in _grouped(lanes, wants, self._senders, lambda lane: lane.sender):
            if gate.limits:
                share_sender(group, gate.passes(at, seconds))
        for gate, group in _grouped(lanes, wants, self._accounts, lambda lane: lane.account):
            share_account(group, gate.passes(at, seconds), gate.calls(seconds))
        for lane, want in zip(lanes, wants, strict=True):
            busy = seconds if want.gets < lane.waits - _NOTHING else seconds * _part(want)
            self._serve(lane, want.gets, at, busy)
        taken: dict[Gate, float] = defaultdict(float)
        for lane, want in zip(lanes, wants, strict=True):
            for gate in (
                self._workspaces[lane.workspace],
                self._senders[lane.sender],
                self._accounts[lane.account],
            ):
                taken[gate] += want.gets
        for gate, amount in taken.items():
            gate.take(amount, at, seconds)
        self._note_early({lane.account for lane in lanes}, taken, at, seconds)
        self._retire(at + seconds)

    def _note_early(
        self, accounts: Iterable[str], taken: Mapping[Gate, float], at: float, seconds: float
    ) -> None:
        part = min(1.0, (EARLY_SECONDS - at) / seconds)
        if part > 0:
            for name in accounts:
                sent, busy_seconds = self.early[name]
                sent += taken[self._accounts[name]] * part
                self.early[name] = sent, busy_seconds + seconds * part

    def _size(self, lane: _Lane) -> float:
        """The segments of the lane's next message. What has expired is stepped over."""
        while lane.head < lane.arrived - 1 and self._left[lane.nths[lane.head]] <= 0:
            lane.head += 1
        piece = self._pieces[lane.nths[lane.head]]
        return piece.segments / piece.messages

    def _serve(self, lane: _Lane, amount: float, at: float, busy_seconds: float) -> None:
        """Moves a lane on by so much, evenly over the time that it is busy."""
        gone = 0.0
        while lane.head < lane.arrived and (gone < amount or self._left[lane.nths[lane.head]] <= _NOTHING):
            nth = lane.nths[lane.head]
            if self._left[nth] > 0:
                part = min(self._left[nth], amount - gone)
                gone += part
                self._left[nth] -= part
                if self._left[nth] > _NOTHING:
                    break
                self._left[nth] = 0.0
                self._ends[nth] = max(self._ends[nth], at + busy_seconds * min(1.0, gone / (amount or 1.0)))
            lane.head += 1
        lane.waits -= amount


def _part(want: Want) -> float:
    """After which part of the step a lane that gets all it wants has it."""
    return min(1.0, want.gets / want.most) if want.most > 0 else 1.0


def _lanes(pieces: Sequence[Piece]) -> list[_Lane]:
    nths: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for nth, piece in enumerate(pieces):
        if piece.segments > 0:
            nths[piece.workspace, piece.account, piece.sender, piece.priority].append(nth)
    return [
        _Lane(
            workspace,
            account,
            (account, sender),
            priority,
            sorted(of, key=lambda nth: pieces[nth].due_seconds),
        )
        for (workspace, account, sender, priority), of in nths.items()
    ]


def _gates(pieces: Iterable[Piece], limits: Mapping[K, Limit], key: Callable[[Piece], K]) -> dict[K, Gate]:
    waited: dict[K, float] = {}
    for piece in pieces:
        name = key(piece)
        waited[name] = max(waited.get(name, 0.0), -piece.due_seconds)
    return {name: Gate(limits.get(name, NO_LIMIT), waited_seconds=of) for name, of in waited.items()}


def _longest(pieces: Iterable[Piece], limits: Mapping[K, Limit], key: Callable[[Piece], K]) -> float:
    """Seconds that the slowest of these limits takes for all it has to pass."""
    work: dict[K, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for piece in pieces:
        messages, segments = work[key(piece)]
        work[key(piece)] = messages + piece.messages, segments + piece.segments
    return max((limits.get(name, NO_LIMIT).seconds(*of) for name, of in work.items()), default=0.0)


def _grouped(
    lanes: Sequence[_Lane], wants: Sequence[Want], gates: Mapping[K, Gate], key: Callable[[_Lane], K]
) -> Iterable[tuple[Gate, list[Want]]]:
    groups: dict[K, list[Want]] = defaultdict(list)
    for lane, want in zip(lanes, wants, strict=True):
        groups[key(lane)].append(want)
    return [(gates[name], group) for name, group in groups.items()]
