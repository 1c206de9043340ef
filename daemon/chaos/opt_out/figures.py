"""What a race comes to in numbers, and whether they prove anything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from daemon.chaos.opt_out.judging import Evidence, Judge
from daemon.chaos.opt_out.plan import Part


@dataclass(slots=True)
class Tally:
    """What happened to the deliveries of a run."""

    pairs: int = 0  # deliveries that raced with a stop
    sent: int = 0  # of these
    stopped: int = 0  # of these
    in_flight: int = 0  # arrived after the answer to their stop, marked before it committed
    capped: int = 0  # given up because their recipient's cap was used up
    shared: int = 0  # recipients whose capped deliveries were sent by several daemons
    before_quiet: int = 0  # sent before quiet hours that ...
    after_quiet: int = 0  # ... others waited out
    won: Counter[str] = field(default_factory=Counter)  # kind of stop → how many it ended
    asked: Counter[str] = field(default_factory=Counter)  # kind of stop → how many it raced with


def tally(evidence: Evidence) -> Tally:
    """Counts."""
    judge = Judge(evidence)
    found = Tally()
    nodes: dict[str, set[int]] = defaultdict(set)
    kinds = {planned.to: planned.stop.value for planned in evidence.planned if planned.stop is not None}
    for row in judge.rows:
        arrivals = judge.arrivals_of(row)
        stops = judge.stops_of(row)
        found.in_flight += any(a.accepted_at > s.answered_at.timestamp() for a in arrivals for s in stops)
        found.capped += row.reason == "cap_reached" and row.state == "skipped"
        if row.category in evidence.caps and arrivals and row.node is not None:
            nodes[row.to].add(row.node)
        if row.category in evidence.quiet and arrivals:
            begins, ends = evidence.quiet[row.category]
            found.before_quiet += arrivals[0].accepted_at < begins.timestamp()
            found.after_quiet += row.due_at < ends and arrivals[0].accepted_at >= ends.timestamp()
        if row.number is not None and judge.parts[row.number] is Part.PAIR:
            ended = row.state in ("skipped", "canceled")
            found.pairs += 1
            found.sent += bool(arrivals)
            found.stopped += ended
            found.asked[kinds[row.to]] += 1
            found.won[kinds[row.to]] += ended
    found.shared = sum(len(some) > 1 for some in nodes.values())
    return found


def hollow(found: Tally) -> Iterator[str]:
    """Why a run proves nothing: a race that always has the same winner is none."""
    if found.sent * 3 < found.pairs:
        yield f"only {found.sent} of {found.pairs} that raced with a stop were sent: fewer than a third"
    if found.stopped * 6 < found.pairs:
        yield f"only {found.stopped} of {found.pairs} that raced with a stop were stopped: fewer than a sixth"
    if not (found.before_quiet and found.after_quiet):
        yield (
            f"{found.before_quiet} were sent before the quiet hours and {found.after_quiet} waited for their end:"
            " the run did not contain them"
        )
    if not found.capped:
        yield "no cap was ever reached"
