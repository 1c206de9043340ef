"""How what limits let pass in a step of time is shared among the lanes that wait, as the daemons share it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.model import Priority

# Of its workspace's limit each lower lane that waits keeps so much: see queue/share.py.
_LOWER_SHARE = 0.1
# Of an account's calls all that is not urgent keeps so much together: see queue/ready.py.
_LOWER_TURNS = 2 / 16


@dataclass(slots=True, eq=False)
class Want:
    """What a lane may have in a step, in segments; `size` segments make a message. `most` would be its part if
    it wanted without end: how soon within the step it is done.
    """

    priority: int
    size: float
    wants: float
    gets: float = 0.0
    most: float = 0.0

    @property
    def unmet(self) -> float:
        return self.wants - self.gets


def fill(wants: Sequence[Want], segments: float, calls: float) -> tuple[float, float]:
    """Gives each as many messages as every other; what one does not want the others have. Returns what is left."""
    together, many = sum(want.size for want in wants), len(wants)
    for want in sorted(wants, key=lambda want: want.unmet / want.size):
        each = max(0.0, min(segments / max(together, want.size), calls / many))
        given = min(want.unmet, each * want.size)
        want.most = max(want.most, want.gets + each * want.size)
        want.gets += given
        segments, calls = segments - given, calls - given / want.size
        together, many = together - want.size, many - 1
    return max(0.0, segments), max(0.0, calls)


def share_account(wants: Sequence[Want], segments: float, calls: float) -> None:
    """What is urgent first, but for the turns that the others have while they wait."""
    urgent = [want for want in wants if want.priority == Priority.HIGH]
    others = [want for want in wants if want.priority != Priority.HIGH]
    if not urgent or not others:
        fill(wants, segments, calls)
        return
    theirs = 1 - _LOWER_TURNS
    left = fill(urgent, segments * theirs, calls * theirs)
    left = fill(others, left[0] + segments * _LOWER_TURNS, left[1] + calls * _LOWER_TURNS)
    fill(urgent, *left)


def share_workspace(wants: Sequence[Want], segments: float) -> None:
    """Cuts what each may have down to what its workspace's limit lets pass: the higher priorities first, but
    for a tenth that each lower lane keeps.
    """
    if sum(want.wants for want in wants) <= segments:
        return
    left = segments
    for priority in sorted({want.priority for want in wants}):
        tier = [want for want in wants if want.priority == priority]
        lower = sum(min(want.wants, segments * _LOWER_SHARE) for want in wants if want.priority > priority)
        kept = min(lower, left * (1 - _LOWER_SHARE))
        left = fill(tier, left - kept, math.inf)[0] + kept
    for want in wants:
        want.wants, want.gets = want.gets, 0.0


def share_sender(wants: Sequence[Want], segments: float) -> None:
    """Likewise for a sender's limit, which knows no priorities."""
    if sum(want.wants for want in wants) <= segments:
        return
    fill(wants, segments, math.inf)
    for want in wants:
        want.wants, want.gets = want.gets, 0.0
