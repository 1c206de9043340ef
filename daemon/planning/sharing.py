"""How what limits let pass in a step of time is shared among the lanes that wait, as the daemons share it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.queue.ready import LOWER_TURNS
from daemon.queue.share import LOWER_SHARE


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
    """Gives each as many segments as every other; what one does not want the others have. Returns what is left."""
    many, calls_each = len(wants), sum(1 / want.size for want in wants)
    for want in sorted(wants, key=lambda want: want.unmet):
        each = max(0.0, min(segments / many, calls / max(calls_each, 1 / want.size)))
        given = min(want.unmet, each)
        want.most = max(want.most, want.gets + each)
        want.gets += given
        segments, calls = segments - given, calls - given / want.size
        many, calls_each = many - 1, calls_each - 1 / want.size
    return max(0.0, segments), max(0.0, calls)


def share_account(wants: Sequence[Want], segments: float, calls: float) -> None:
    """The highest priority first, but for the turns that the lower ones have while they wait."""
    present = sorted({want.priority for want in wants if want.unmet > 0})
    tiers = [[want for want in wants if want.priority == priority] for priority in present]
    if not tiers:
        return
    lower = LOWER_TURNS / max(1, len(tiers) - 1)
    turns = [1 - lower * (len(tiers) - 1), *[lower] * (len(tiers) - 1)]
    # A turn is a message's, however long it is.
    sizes = [len(tier) / sum(1 / want.size for want in tier) for tier in tiers]
    together = sum(part * size for part, size in zip(turns, sizes, strict=True))
    left = 0.0, 0.0
    for tier, part, size in zip(tiers, turns, sizes, strict=True):
        left = fill(tier, left[0] + segments * part * size / together, left[1] + calls * part)
    for tier in tiers:
        left = fill(tier, *left)


def share_workspace(wants: Sequence[Want], segments: float) -> None:
    """Cuts what each may have down to what its workspace's limit lets pass: the higher priorities first, but
    for a tenth that each lower lane keeps.
    """
    if sum(want.wants for want in wants) <= segments:
        return
    left = segments
    for priority in sorted({want.priority for want in wants}):
        tier = [want for want in wants if want.priority == priority]
        lower = sum(min(want.wants, segments * LOWER_SHARE) for want in wants if want.priority > priority)
        kept = min(lower, left * (1 - LOWER_SHARE))
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
