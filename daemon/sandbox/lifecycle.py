"""What becomes of an accepted message: its statuses in time, their callbacks, and the person's reply."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

from daemon.rules.segments import segments
from daemon.sandbox.backlog import Backlog
from daemon.sandbox.behaviours import ORDINARY, Behaviour, behaviour_of
from daemon.sandbox.callbacks import Callbacks
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.messages import API_VERSION, Message, Status, callback_parameters
from daemon.sandbox.settings import SandboxSettings

# Seconds from one status to the next for an ordinary number, before jitter and speed.
_QUEUED_AFTER, _SENDING_AFTER, _SENT_AFTER, _ENDS_AFTER, _REPLY_AFTER = 0.02, 0.05, 0.1, 0.3, 0.5

_OPT_OUT = {
    **dict.fromkeys(("STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"), "STOP"),
    **dict.fromkeys(("START", "UNSTOP", "YES"), "START"),
    **dict.fromkeys(("HELP", "INFO"), "HELP"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One change of status: so long after the one before."""

    after_seconds: float
    status: Status
    error: int | None = None


def plan(initial: Status, behaviour: Behaviour) -> list[Step]:
    """The statuses that follow `initial`, before jitter and speed."""
    steps = [] if initial is Status.QUEUED else [Step(_QUEUED_AFTER, Status.QUEUED)]
    steps.append(Step(_SENDING_AFTER, Status.SENDING))
    if behaviour.ends is not Status.FAILED:
        steps.append(Step(_SENT_AFTER, Status.SENT))
    if behaviour.ends is not Status.SENT:
        steps.append(Step(_ENDS_AFTER + behaviour.slow_seconds, behaviour.ends, behaviour.error))
    return steps


def opt_out_type(body: str) -> str | None:
    """STOP, START or HELP where the whole text is one of Twilio's keywords for it, in any case."""
    return _OPT_OUT.get(body.strip().upper())


@dataclass(slots=True)
class _Course:
    """A message under way: what is left of its plan, and callbacks that are held back."""

    message: Message
    behaviour: Behaviour
    steps: list[Step]
    held: list[dict[str, str]] = field(default_factory=list)


class Lifecycle:
    """Moves messages along their plans with timers; no task per message."""

    def __init__(
        self,
        settings: SandboxSettings,
        ledger: Ledger,
        callbacks: Callbacks,
        backlog: Backlog,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._callbacks = callbacks
        self._backlog = backlog
        self._rng = rng
        self._closed = False
        self.inbound_url = settings.inbound_url

    def close(self) -> None:
        """Let every timer that is still set do nothing."""
        self._closed = True

    def start(self, message: Message) -> None:
        """Begin the life of a message that was just accepted or scheduled."""
        if message.send_at is None:
            self._begin(message)
            return
        ahead = max(0.0, message.send_at - self._ledger.wall()) / self._settings.speed
        asyncio.get_running_loop().call_later(ahead, self._release, message)

    def cancel(self, message: Message) -> bool:
        """Cancel a scheduled message. False where it is too late."""
        if message.status is not Status.SCHEDULED:
            return False
        self._ledger.move(message, Status.CANCELED)
        self._call_back(message)
        return True

    def reply(self, number: str, body: str, media: tuple[str, ...] = ()) -> Message:
        """Let a person answer who wrote to them last: recorded, and posted to the inbound URL if any."""
        sender, service = self._correspondent(number)
        kind = "MM" if media else "SM"
        now = self._ledger.wall()
        message = Message(
            sid=f"{kind}{self._rng.getrandbits(128):032x}",
            to=sender,
            sender=number,
            service=service,
            body=body,
            media=media,
            status=Status.RECEIVED,
            segments=segments(body).count,
            created=now,
            accepted_monotonic=self._ledger.monotonic(),
            updated=now,
            sent=now,
        )
        self._ledger.receive(message)
        opt_out = opt_out_type(body)
        self._note_consent(message, opt_out)
        if self.inbound_url:
            parameters = self._inbound_parameters(message, opt_out)
            self._callbacks.send(self.inbound_url, parameters, line=number)
        return message

    def _release(self, message: Message) -> None:
        if not self._closed and message.status is Status.SCHEDULED:
            self._begin(message)

    def _begin(self, message: Message) -> None:
        behaviour = behaviour_of(message.to) if self._settings.behaviours else ORDINARY
        self._schedule(_Course(message, behaviour, plan(message.status, behaviour)))

    def _schedule(self, course: _Course) -> None:
        self._after(course.steps[0].after_seconds, self._advance, course)

    def _after(self, seconds: float, do: Callable[[_Course], None], course: _Course) -> None:
        self._backlog.add()
        delay = seconds * self._rng.uniform(0.8, 1.2) / self._settings.speed
        asyncio.get_running_loop().call_later(delay, do, course)

    def _advance(self, course: _Course) -> None:
        message, step = course.message, course.steps.pop(0)
        if not self._closed and self._ledger.move(message, step.status, step.error):
            if message.sender is None:
                message.sender = self._choose_sender(message.to)
            self._call_back(message, course)
            if course.steps:
                self._schedule(course)
            else:
                self._finish(course)
        self._backlog.done()

    def _finish(self, course: _Course) -> None:
        if course.held and course.message.callback_url:
            self._send_scrambled(course.message.callback_url, course.held)
        if course.behaviour.reply is not None:
            self._after(_REPLY_AFTER, self._answer, course)

    def _answer(self, course: _Course) -> None:
        known = self._ledger.by_sid.get(course.message.sid) is course.message
        if not self._closed and known and course.behaviour.reply is not None:
            self.reply(course.message.to, course.behaviour.reply)
        self._backlog.done()

    def _choose_sender(self, to: str) -> str:
        """The pool's number for this person: always the same one, as Twilio's sticky sender."""
        pool = self._settings.sender_pool
        channel, colon, number = to.rpartition(":")
        return channel + colon + pool[crc32(number.encode()) % len(pool)]

    def _call_back(self, message: Message, course: _Course | None = None) -> None:
        settings = self._settings
        if not (message.callback_url and settings.callbacks and message.status in settings.callback_statuses):
            return
        parameters = callback_parameters(message, settings.account_sid)
        if course is not None and course.behaviour.scrambled:
            course.held.append(parameters)
        else:
            self._callbacks.send(message.callback_url, parameters, line=message.sid)

    def _send_scrambled(self, url: str, held: list[dict[str, str]]) -> None:
        """The last first, then all of them again in any order."""
        again = self._rng.sample(held, len(held))
        for parameters in [*reversed(held), *again]:
            self._callbacks.send(url, parameters, line=parameters["MessageSid"])

    def _correspondent(self, number: str) -> tuple[str, str | None]:
        """Who wrote to this number last: the sender and the messaging service."""
        phone = self._ledger.phones.get(number)
        for message in reversed(phone.messages if phone else []):
            if not message.inbound:
                return message.sender or self._choose_sender(number), message.service
        return self._choose_sender(number), None

    def _note_consent(self, message: Message, opt_out: str | None) -> None:
        phone = self._ledger.phones[message.phone]
        party = message.service or message.to
        if opt_out == "STOP":
            phone.opted_out |= {party}
        elif opt_out == "START":
            phone.opted_out -= {party}

    def _inbound_parameters(self, message: Message, opt_out: str | None) -> dict[str, str]:
        parameters = {
            "AccountSid": self._settings.account_sid,
            "ApiVersion": API_VERSION,
            "Body": message.body,
            "From": message.sender or "",
            "MessageSid": message.sid,
            "NumMedia": str(len(message.media)),
            "NumSegments": str(message.segments),
            "SmsMessageSid": message.sid,
            "SmsSid": message.sid,
            "SmsStatus": message.status.value,
            "To": message.to,
        }
        for index, url in enumerate(message.media):
            parameters[f"MediaUrl{index}"] = url
            parameters[f"MediaContentType{index}"] = "image/jpeg"
        if message.service:
            parameters["MessagingServiceSid"] = message.service
        if opt_out and self._settings.advanced_opt_out:
            parameters["OptOutType"] = opt_out
        return parameters
