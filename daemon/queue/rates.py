"""What the TOML allows each account, sender and workspace: for the limits, and for the forecast of their effect."""

from __future__ import annotations

from daemon.config import Config
from daemon.queue.limiter import Rate


def account_rate(config: Config, account: str) -> Rate:
    """An account's; without limit where the TOML does not know it."""
    platform = config.platforms.get(account)
    if platform is None:
        return Rate()
    return Rate(platform.rate_per_second, platform.burst, platform.rate_per_minute)


def sender_rate(config: Config) -> Rate:
    """Each sender's."""
    limits = config.limits
    return Rate(limits.sender_per_second, limits.sender_burst, limits.sender_per_minute)


def workspace_rate(config: Config, workspace: str) -> Rate:
    """A workspace's: what it has of its own, else what all have."""
    limits, own = config.limits, config.workspaces.get(workspace)
    if own is None:
        return Rate(limits.workspace_per_second, limits.workspace_burst, limits.workspace_per_minute)
    return Rate(
        own.per_second if own.per_second is not None else limits.workspace_per_second,
        own.burst if own.burst is not None else limits.workspace_burst,
        own.per_minute if own.per_minute is not None else limits.workspace_per_minute,
    )
