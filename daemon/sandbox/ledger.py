"""What reached the sandbox: the record that Duly's own database is judged by. Pure memory, no I/O."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from daemon.sandbox.messages import FAILED, FINAL, Message, Status

SAME_CONTENT_SECONDS = 60.0
"""Without a delivery id, the same words to the same person within this time are a duplicate."""

_Content = tuple[str, str | None, str | None, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A request that was not taken. `code` is Twilio's, 0 where the connection was cut unanswered."""

    at: float
    code: int
    to: str
    delivery: str | None
    attempt: int | None


@dataclass(slots=True, eq=False)
class Phone:
    """One person's phone: the conversation, oldest first."""

    number: str
    messages: list[Message] = field(default_factory=list)
    replies: int = 0
    opted_out: frozenset[str] = frozenset()  # the senders and services they said STOP to

    @property
    def received(self) -> int:
        """How many messages were accepted for it."""
        return len(self.messages) - self.replies


class Ledger:
    """Everything that reached the sandbox, in order. Clocks are injected: monotonic and epoch seconds."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self.monotonic = monotonic
        self.wall = wall
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.received = 0  # requests to create a message, however they ended
        self.duplicates = 0
        self.inbound = 0
        self.callbacks_sent = 0  # answered 2xx
        self.callbacks_failed = 0  # refused, or given up
        self.messages: list[Message] = []
        self.by_sid: dict[str, Message] = {}
        self.by_status: Counter[str] = Counter()
        self.rejections: list[Rejection] = []
        self.phones: dict[str, Phone] = {}  # the one that moved last is last
        self._by_delivery: dict[str, Message] = {}
        self._by_content: dict[_Content, Message] = {}

    @property
    def accepted(self) -> int:
        """How many messages were taken, whether or not the client was told."""
        return len(self.messages) - self.inbound

    def accept(self, message: Message) -> None:
        """Record a message that was taken, and whether it says something twice."""
        message.earlier = self._earlier(message)
        message.duplicate = any(earlier.status not in FAILED for earlier in self._chain(message))
        self.duplicates += message.duplicate
        self.by_status[message.status] += 1
        self._append(message)

    def receive(self, message: Message) -> None:
        """Record a message from a person."""
        self.inbound += 1
        self._append(message).replies += 1

    def reject(self, code: int, to: str, delivery: str | None, attempt: int | None) -> None:
        """Record a request that was not taken."""
        self.rejections.append(Rejection(self.wall(), code, to, delivery, attempt))

    def move(self, message: Message, status: Status, error: int | None = None) -> bool:
        """Move a message on. False where it has ended, or is no longer known."""
        if message.status in FINAL or self.by_sid.get(message.sid) is not message:
            return False
        self.by_status[message.status] -= 1
        self.by_status[status] += 1
        message.status, message.error = status, error
        message.updated = self.wall()
        if status is Status.SENT:
            message.sent = message.updated
        return True

    def conversations(self, query: str = "") -> Iterator[Phone]:
        """The phones whose number contains `query`, the one that moved last first."""
        return (phone for phone in reversed(self.phones.values()) if query in phone.number)

    def page(self, query: str, limit: int, offset: int) -> list[Phone]:
        """One page of `conversations`."""
        return list(islice(self.conversations(query), offset, offset + limit))

    def stats(self) -> dict[str, Any]:
        """The numbers at a glance. `undelivered` counts failed ones too; `by_status` tells them apart."""
        by_status = {str(status): count for status, count in self.by_status.items() if count}
        return {
            "received": self.received,
            "accepted": self.accepted,
            "rejected": len(self.rejections),
            "rejected_by_code": dict(Counter(str(rejection.code) for rejection in self.rejections)),
            "duplicates": self.duplicates,
            "delivered": by_status.get("delivered", 0) + by_status.get("read", 0),
            "undelivered": by_status.get("undelivered", 0) + by_status.get("failed", 0),
            "inbound": self.inbound,
            "callbacks_sent": self.callbacks_sent,
            "callbacks_failed": self.callbacks_failed,
            "by_status": by_status,
        }

    def export(self) -> Iterator[dict[str, Any]]:
        """One record for every accepted message, in the order of acceptance."""
        for message in self.messages:
            if not message.inbound:
                yield {
                    "delivery": message.delivery,
                    "attempt": message.attempt,
                    "sid": message.sid,
                    "to": message.to,
                    "status": message.status.value,
                    "accepted_at": message.created,
                    "duplicate": message.duplicate,
                }

    def _append(self, message: Message) -> Phone:
        message.seq = len(self.messages)
        self.messages.append(message)
        self.by_sid[message.sid] = message
        phone = self.phones.pop(message.phone, None) or Phone(message.phone)
        self.phones[phone.number] = phone
        phone.messages.append(message)
        return phone

    def _earlier(self, message: Message) -> Message | None:
        if message.delivery is not None:
            earlier = self._by_delivery.get(message.delivery)
            self._by_delivery[message.delivery] = message
            return earlier
        content = (message.to, message.sender, message.service, message.body, message.media)
        earlier = self._by_content.get(content)
        self._by_content[content] = message
        return earlier

    @staticmethod
    def _chain(message: Message) -> Iterator[Message]:
        """The earlier messages that say the same, latest first."""
        oldest = message.accepted_monotonic - SAME_CONTENT_SECONDS
        earlier = message.earlier
        while earlier is not None:
            if message.delivery is None and earlier.accepted_monotonic < oldest:
                return
            yield earlier
            earlier = earlier.earlier
