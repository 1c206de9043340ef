"""Which kinds of series there are, and who decides for each."""

from __future__ import annotations

from daemon.planning.check_ins import AccountOf, CheckIns
from daemon.planning.reminders import Reminders
from daemon.planning.sources import Source
from daemon.sealing.keys import DataKeys


def sources(keys: DataKeys, account_of: AccountOf | None) -> dict[str, Source]:
    """A source for each kind. `account_of`: which account carries a channel for a workspace; None: not asked."""
    return {"check_in": CheckIns(keys, account_of), "reminder": Reminders(keys, account_of)}
