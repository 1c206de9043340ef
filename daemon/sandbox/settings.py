"""What a sandbox is started with."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.sandbox.drafts import MIN_AHEAD_SECONDS

ALL_CALLBACKS = frozenset(
    {"queued", "sending", "sent", "delivered", "undelivered", "failed", "canceled", "read"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """One pretended account and how it behaves. `speed` divides every delay of a message's life."""

    account_sid: str
    auth_token: str
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    inbound_url: str | None = None  # where a phone's reply is posted; None: it is only recorded
    seed: int | None = None
    speed: float = 1.0
    behaviours: bool = True  # False: the recipient's last four digits mean nothing
    blocks_opted_out: bool = True  # after a STOP, 21610 until a START, as Twilio does by default
    advanced_opt_out: bool = True  # OptOutType in the inbound webhook
    schedule_least_seconds: float = (
        MIN_AHEAD_SECONDS  # SendAt has to be so far ahead; speed does not scale it
    )
    sender_pool: tuple[str, ...] = ("+15005550006",)  # what a messaging service sends from
    callbacks: bool = True
    callback_statuses: frozenset[str] = ALL_CALLBACKS
    callback_concurrency: int = 32
    callback_timeout_seconds: float = 15.0
    callback_retry_seconds: tuple[float, ...] = (1.0, 4.0)  # waits between tries; speed does not scale them
