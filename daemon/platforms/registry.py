"""From an account's configuration to its platform: the one place that knows every kind."""

from __future__ import annotations

from daemon.config import PlatformConfig
from daemon.platforms.base import Platform
from daemon.platforms.twilio import Twilio, TwilioAccount


def make_platform(config: PlatformConfig) -> Platform:
    """The platform that an account's table in the TOML describes. It is not opened yet."""
    sender = config.messaging_service_sid or config.sender
    assert sender is not None  # the configuration saw to it
    return Twilio(
        TwilioAccount(
            account_sid=config.account_sid,
            auth_token=config.auth_token.reveal(),
            sender=sender,
            base_url=str(config.base_url),
            timeout_seconds=config.timeout_seconds,
        )
    )
