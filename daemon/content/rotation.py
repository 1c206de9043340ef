"""Which of several texts is said next: none is said to a person again before all have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

from daemon.content.templates import Text

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def pick(choices: Sequence[Text], used: Mapping[UUID, tuple[int, datetime | None]], seed: object) -> Text:
    """A text that was never said to this person, else the one said longest ago; among equals by a hash with `seed`.

    `choices`: as `TemplateVersion.choices` gives them, at least one. `used`: by text how often it went to this person
    and when last (aware), as sql/queries/texts_used.sql counts it. `seed`: what makes two people begin with different
    texts, and one person's choice the same whenever it is asked, such as the contact's id.
    """

    def order(text: Text) -> tuple[bool, datetime, int, bytes]:
        times, last = used.get(text.id, (0, None))
        place = f"{seed}\0{text.channel}\0{text.language}\0{text.style}\0{text.number}"
        return times > 0, last or _LONG_AGO, times, blake2b(place.encode(), digest_size=8).digest()

    return min(choices, key=order)
