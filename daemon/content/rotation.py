"""Which of several texts is said next: none is said to a person again before all have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

from daemon.content.templates import Text

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NEVER = (0, None)


def pick(choices: Sequence[Text], used: Mapping[UUID, tuple[int, datetime | None]], seed: object) -> Text:
    """A text that was never said to this person, else the one said longest ago; among equals by a hash with `seed`.

    `choices`: as `TemplateVersion.choices` gives them, at least one. `used`: by text how often it went to this person
    and when last (aware), as sql/queries/texts_used.sql counts it. `seed`: what makes two people begin with different
    texts, and one person's choice the same whenever it is asked, such as the contact's id.
    """

    def said(text: Text) -> tuple[bool, datetime, int]:
        times, last = used.get(text.id, _NEVER)
        return times > 0, last or _LONG_AGO, times

    equals = list(choices)
    if used:
        least = min(map(said, choices))
        equals = [text for text in choices if said(text) == least]
    equals.sort(key=lambda text: text.number)
    return equals[int.from_bytes(blake2b(str(seed).encode(), digest_size=8).digest()) % len(equals)]
