"""A file of contacts: its columns, and what a row says of a person, their addresses and their consent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from daemon.bulk.csvfile import CsvFile, CsvProblem
from daemon.bulk.whole import RowProblem
from daemon.contacts.addresses import AddressProblem, normalise
from daemon.model import Channel

TEXTS = ("external_id", "first_name", "name", "locale", "time_zone")
CHANNELS = tuple(channel.value for channel in Channel)
CONSENT = ("consent", "consent_channel", "consent_category", "consent_at", "consent_words")
COLUMNS = (*TEXTS, "max_per_week", *CHANNELS, "attributes", *CONSENT)
"""The columns that mean something, beside those of single attributes."""
ATTRIBUTE = "attr."
"""What a column's name begins with that holds one attribute."""

_STATES = ("given", "withdrawn", "requested")
_FIRST_CONSENT = datetime(1990, 1, 1, tzinfo=UTC)


class ContactFile(CsvFile):
    """An open file of contacts. Raises `CsvProblem` where it cannot be used."""

    def __init__(self, path: Path, ignored: Collection[str] = ()) -> None:
        self._ignored = ignored
        super().__init__(path)

    def look_through(self) -> None:
        """Reads the columns and counts the rows."""
        own = [name for name in self.names if name.startswith(ATTRIBUTE) and name != ATTRIBUTE]
        self.columns = self.positions((*COLUMNS, *own), self._ignored, "field of a contact, nor attr.NAME")
        self.attributes = {
            self.titles[at][len(ATTRIBUTE) :].strip(): at
            for name, at in self.columns.items()
            if name not in COLUMNS
        }
        if not {"external_id", *CHANNELS} & self.columns.keys():
            raise CsvProblem(
                f"has no column that says who it is: external_id, or an address ({', '.join(CHANNELS)})"
            )
        super().look_through()


@dataclass(frozen=True, slots=True)
class ContactRow:
    """What a row says: a contact as `duly.put_contacts` takes it, and consent as `duly.record_consents` does."""

    contact: dict[str, Any]
    consents: list[dict[str, Any]]


def reader(file: ContactFile, region: str | None, now: datetime) -> Callable[[list[str]], ContactRow]:
    """What reads this file's rows. `region`: whose numbers are meant where there is no country code; `now`: no
    consent is later than that. An empty cell says nothing. The reader raises `RowProblem`.
    """
    columns = file.columns

    def read(cells: list[str]) -> ContactRow:
        said = {name: cell for name, at in columns.items() if (cell := cells[at].strip())}
        problems: list[str] = []
        contact: dict[str, Any] = {name: said[name] for name in TEXTS if name in said}
        addresses = _addresses(said, region, problems)
        if addresses:
            contact["addresses"] = [{"channel": c, "address": address} for c, address in addresses.items()]
        if (word := said.get("max_per_week")) is not None:
            if word.isascii() and word.isdecimal() and len(word) <= 4:
                contact["max_per_week"] = int(word)
            else:
                problems.append(f"max_per_week: {word[:40]!r} is not a whole number from 0 to 1000")
        attributes = _attributes(said.get("attributes"), problems)
        attributes |= {name: cell for name, at in file.attributes.items() if (cell := cells[at].strip())}
        if attributes:
            contact["attributes"] = attributes
        consents = _consents(said, addresses, now, problems) if "consent" in said else []
        if problems:
            raise RowProblem("; ".join(problems))
        return ContactRow(contact, consents)

    return read


def _addresses(said: dict[str, str], region: str | None, problems: list[str]) -> dict[str, str]:
    found = {}
    for channel in CHANNELS:
        if channel in said:
            try:
                found[channel] = normalise(Channel(channel), said[channel], region)
            except AddressProblem as problem:
                problems.append(f"{channel}: {problem}")
    return found


def _attributes(word: str | None, problems: list[str]) -> dict[str, Any]:
    if word is None:
        return {}
    try:
        found = orjson.loads(word)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        problems.append('attributes: is not a JSON object such as {"city": "Boston"}')
        return {}
    if "\\u0000" in word and b"\\u0000" in orjson.dumps(found):
        problems.append("attributes: has a NUL character (\\u0000); leave it out")
        return {}
    return found


def _consents(
    said: dict[str, str], addresses: dict[str, str], now: datetime, problems: list[str]
) -> list[dict[str, Any]]:
    """One for each address that is meant: that of `consent_channel`, else all of the row."""
    state, channel = said["consent"].lower(), said.get("consent_channel", "").lower()
    if state not in _STATES:
        problems.append(f"consent: {state[:40]!r} is none of {', '.join(_STATES)}")
    category = said.get("consent_category", "")
    if not _is_category(category):
        problems.append(
            f"consent_category: {category[:40]!r} is not a category such as marketing; empty means all"
        )
    words = said.get("consent_words")
    if words is not None and len(words) > 1000:
        problems.append(f"consent_words: has {len(words):,} characters; it may have 1,000")
    meant: Iterable[str] = [channel] if channel else addresses
    if channel and channel not in said:
        problems.append(
            f"consent_channel: the row has no address in a column {channel[:40]!r}; leave it empty for all it has"
        )
    elif not channel and not any(name in said for name in CHANNELS):
        problems.append("consent: belongs to an address, and the row has none")
    at = _consent_time(said.get("consent_at"), now, problems)
    about = {"state": state, "category": category, "words": words, "source": "csv", "at": at}
    return [{"channel": c, "to": addresses[c], **about} for c in meant if c in addresses]


def _is_category(word: str) -> bool:
    return not word or (
        len(word) <= 40 and word.isascii() and word[0].islower() and word == word.lower()
        and word.replace("_", "").isalnum()
    )  # fmt: skip


def _consent_time(word: str | None, now: datetime, problems: list[str]) -> str | None:
    """It must be there: a yes without its time would count as newer than a no that has come since."""
    try:
        moment = datetime.fromisoformat(word or "")
    except ValueError:
        moment = None
    if moment is None:
        what = "is missing" if word is None else f"{word[:40]!r} is not a time"
        problems.append(f"consent_at: {what}: say when it was said, such as 2026-01-31T18:00:00+01:00")
    elif moment.tzinfo is None:
        problems.append(f"consent_at: {word!r:.40} has no zone: add one, such as +01:00 or Z")
    elif not _FIRST_CONSENT <= moment <= now:
        problems.append("consent_at: must be when it was said: since 1990, and not in the future")
    else:
        return moment.isoformat()
    return None
