"""Webhooks on their way out: signed, bounded, in order for one message, and tried again as Twilio would."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote_plus

from twilio.request_validator import RequestValidator

from daemon.sandbox.backlog import Backlog
from daemon.sandbox.faults import CallbackTrouble, Dice
from daemon.sandbox.ledger import Ledger
from daemon.sandbox.settings import SandboxSettings
from daemon.sandbox.wire import FormClient

REORDER_SECONDS = (0.05, 1.0)
"""How long a callback is held back when it is to be overtaken; divided by the speed."""


@dataclass(slots=True)
class _Webhook:
    url: str
    form: bytes
    signature: str
    line: str | None  # those of one line leave one after the other
    epoch: int  # one from before a reset is dropped
    tries: int = 0


def encoded(parameters: Mapping[str, str]) -> bytes:
    """The parameters as a form: `urlencode` of names that need no quoting, at a third of its cost."""
    return "&".join(
        f"{name}={value if value.isascii() and value.isalnum() else quote_plus(value)}"
        for name, value in parameters.items()
    ).encode()


class Callbacks:
    """Posts webhooks with a bounded number under way at once."""

    def __init__(self, settings: SandboxSettings, ledger: Ledger, dice: Dice, backlog: Backlog) -> None:
        self._settings = settings
        self._ledger = ledger
        self._dice = dice
        self._validator = RequestValidator(settings.auth_token)
        self._client = FormClient(settings.callback_timeout_seconds)
        self._queue: asyncio.Queue[_Webhook] = asyncio.Queue()
        self._lines: dict[str, deque[_Webhook]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._backlog = backlog
        self._epoch = 0

    def start(self) -> None:
        """Start the workers."""
        count = self._settings.callback_concurrency
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]

    async def close(self) -> None:
        """Stop; what is still waiting is given up."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._client.close()

    def forget(self) -> None:
        """Drop every webhook that is still waiting."""
        self._epoch += 1

    def send(self, url: str, parameters: Mapping[str, str], line: str | None = None) -> None:
        """Sign and queue a webhook. Those of one `line` keep their order, as far as first tries go."""
        url = url.partition("#")[0]  # Twilio reads connection overrides there and does not send them
        signature = self._validator.compute_signature(url, parameters)
        webhook = _Webhook(url, encoded(parameters), signature, line, self._epoch)
        trouble = self._dice.callback()
        if trouble is CallbackTrouble.REORDER:
            webhook.line = None
            self._later(webhook, self._dice.rng.uniform(*REORDER_SECONDS) / self._settings.speed)
        elif trouble is CallbackTrouble.DROP and self._settings.callback_retry_seconds:
            webhook.line, webhook.tries = None, 1
            self._later(webhook, self._settings.callback_retry_seconds[0])
        else:
            self._enqueue(webhook)
        if trouble is CallbackTrouble.REPEAT:
            self._enqueue(_Webhook(url, webhook.form, signature, None, self._epoch))

    def _enqueue(self, webhook: _Webhook) -> None:
        self._backlog.add()
        if webhook.line is None:
            self._queue.put_nowait(webhook)
        elif (waiting := self._lines.get(webhook.line)) is not None:
            waiting.append(webhook)
        else:
            self._lines[webhook.line] = deque()
            self._queue.put_nowait(webhook)

    def _later(self, webhook: _Webhook, seconds: float) -> None:
        self._backlog.add()
        asyncio.get_running_loop().call_later(seconds, self._queue.put_nowait, webhook)

    async def _work(self) -> None:
        while True:
            webhook = await self._queue.get()
            if webhook.epoch == self._epoch:
                status = await self._try(webhook)
                self._settle(webhook, status)
            if webhook.line is not None:
                self._next(webhook.line)
            self._backlog.done()

    async def _try(self, webhook: _Webhook) -> int | None:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": webhook.signature,
        }
        webhook.tries += 1
        with contextlib.suppress(OSError, TimeoutError, ValueError):  # ValueError: no host name at all
            return await self._client.post(webhook.url, webhook.form, headers)
        return None

    def _settle(self, webhook: _Webhook, status: int | None) -> None:
        retries = self._settings.callback_retry_seconds
        if webhook.epoch != self._epoch:
            return
        if status is not None and 200 <= status < 300:
            self._ledger.callbacks_sent += 1
        elif (status is None or status >= 500) and webhook.tries <= len(retries):
            again = replace(webhook, line=None)
            self._later(again, retries[webhook.tries - 1])
        else:
            self._ledger.callbacks_failed += 1

    def _next(self, line: str) -> None:
        waiting = self._lines[line]
        if waiting:
            self._queue.put_nowait(waiting.popleft())
        else:
            del self._lines[line]
