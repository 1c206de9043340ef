"""The list of messages: Twilio's filters and pages over the ledger, newest first."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from daemon.sandbox.errors import TwilioError
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.messages import API_VERSION, Message, resource

DEFAULT_PAGE = 50
MAX_PAGE = 1000
_FILTERS = ("To", "From", "DateSent", "DateSent<", "DateSent>")
_OLDER, _NEWER = "PA", "PB"  # a page token is one of these and the sid at the page's edge

Test = Callable[[Message], bool]


def list_messages(ledger: Ledger, account_sid: str, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of messages (`ListMessageResponse` in Twilio's OpenAPI). Raises `TwilioError`."""
    size = min(_integer(query, "PageSize", DEFAULT_PAGE, 1), MAX_PAGE)
    page = _integer(query, "Page", 0, 0)
    pool, tests = _pool(ledger, query), _tests(query)
    messages, newer, older = _cut(ledger, pool, tests, query.get("PageToken", ""), size)
    path = f"/{API_VERSION}/Accounts/{account_sid}/Messages.json"
    kept = [(name, query[name]) for name in _FILTERS if query.get(name)]

    def uri(number: int, token: str | None = None) -> str:
        paging: list[tuple[str, str | int]] = [*kept, ("PageSize", size), ("Page", number)]
        return f"{path}?{urlencode([*paging, ('PageToken', token)] if token else paging)}"

    start = page * size
    return {
        "end": start + max(len(messages) - 1, 0),
        "first_page_uri": uri(0),
        "next_page_uri": uri(page + 1, _OLDER + messages[-1].sid) if older else None,
        "page": page,
        "page_size": size,
        "previous_page_uri": uri(max(page - 1, 0), _NEWER + messages[0].sid) if newer else None,
        "start": start,
        "uri": uri(page, query.get("PageToken") or None),
        "messages": [resource(message, account_sid) for message in messages],
    }


def _cut(
    ledger: Ledger, pool: Sequence[Message], tests: Sequence[Test], token: str, size: int
) -> tuple[list[Message], bool, bool]:
    """The page's messages, and whether there are newer and older ones."""
    edge = _edge(ledger, token)
    if edge is not None and token.startswith(_NEWER):
        after = pool[bisect_right(pool, edge, key=_seq) :]
        found = _matching(after, tests, size + 1)
        return found[:size][::-1], len(found) > size, True
    end = len(pool) if edge is None else bisect_left(pool, edge, key=_seq)
    found = _matching((pool[index] for index in range(end - 1, -1, -1)), tests, size + 1)
    messages = found[:size]
    return messages, bool(messages) and edge is not None, len(found) > size


def _seq(message: Message) -> int:
    return message.seq


def _edge(ledger: Ledger, token: str) -> int | None:
    if not token:
        return None
    message = ledger.by_sid.get(token[2:])
    if message is None or token[:2] not in (_OLDER, _NEWER):
        raise TwilioError(20001, "PageToken")
    return message.seq


def _pool(ledger: Ledger, query: Mapping[str, str]) -> Sequence[Message]:
    """The smallest list that surely holds every match."""
    to = query.get("To")
    if to and to in ledger.phones:
        return ledger.phones[to].messages
    return ledger.messages


def _matching(pool: Iterable[Message], tests: Sequence[Test], count: int) -> list[Message]:
    return list(islice((item for item in pool if all(test(item) for test in tests)), count))


def _tests(query: Mapping[str, str]) -> list[Test]:
    """The filters as predicates. A message that was not sent yet has no date: no DateSent matches it."""
    tests: list[Test] = []
    if to := query.get("To"):
        tests.append(lambda message: message.to == to)
    if sender := query.get("From"):
        tests.append(lambda message: message.sender == sender)
    dates = [(name, query[name]) for name in _FILTERS[2:] if query.get(name)]
    return tests + [_dated(name, *_span(name, value)) for name, value in dates]


def _dated(name: str, start: float, end: float) -> Test:
    if name == "DateSent<":  # Twilio's bounds include the day or second that is named
        return lambda message: message.sent is not None and message.sent < end
    if name == "DateSent>":
        return lambda message: message.sent is not None and message.sent >= start
    return lambda message: message.sent is not None and start <= message.sent < end


def _span(name: str, value: str) -> tuple[float, float]:
    """The moments a date (a day) or a timestamp (a second) covers, in epoch seconds."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError, IndexError, TypeError):
            raise TwilioError(20001, name) from None
    start = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return start, start + (86_400 if len(value) == len("2008-01-02") else 1)


def _integer(query: Mapping[str, str], name: str, default: int, least: int) -> int:
    value = query.get(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) >= least):
        raise TwilioError(20001, name)
    return int(value)
