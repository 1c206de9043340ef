"""A person who answers STOP: the signed request that Twilio makes of it, to one of the daemons."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import aiohttp
from twilio.request_validator import RequestValidator

from daemon.chaos.settings import ACCOUNT_SID, AUTH_TOKEN, NUMBER

_WORDS = ("STOP", " stop. ", "Unsubscribe", "Please stop texting me!", "ALTO")
_PAUSE_SECONDS = 0.05
# As long as Twilio waits for an answer.
_PATIENCE = aiohttp.ClientTimeout(total=15)


class Phone:
    """Posts inbound messages, as an async context. A daemon that is down is passed over for the next one."""

    def __init__(self, daemons: Sequence[str], seed: int) -> None:
        """`daemons`: their public URLs."""
        self._daemons = daemons
        self._rng = random.Random(f"phone {seed}")
        self._validator = RequestValidator(AUTH_TOKEN)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=_PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.close()

    async def stop(self, account: str, number: str, to: str | None) -> None:
        """Returns when a daemon has answered 2xx. `to`: the number that was written to; None: the account's."""
        message = {
            "AccountSid": ACCOUNT_SID,
            "Body": self._rng.choice(_WORDS),
            "From": number,
            "MessageSid": f"SM{self._rng.getrandbits(128):032x}",
            "NumMedia": "0",
            "To": to or NUMBER,
        }
        while True:
            if await self._posted(self._rng.choice(self._daemons), account, message):
                return
            await asyncio.sleep(_PAUSE_SECONDS)  # the daemon's start is no event for us

    async def _posted(self, daemon: str, account: str, message: dict[str, str]) -> bool:
        assert self._http is not None
        url = f"{daemon}/hooks/twilio/{account}/inbound"
        signature = self._validator.compute_signature(url, message)
        try:
            async with self._http.post(
                url, data=message, headers={"X-Twilio-Signature": signature}
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
