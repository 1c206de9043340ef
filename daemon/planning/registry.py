"""Which kinds of series there are, and who decides for each."""

from __future__ import annotations

from collections.abc import Callable

from daemon.config import Config
from daemon.planning.check_ins import CheckIns
from daemon.planning.reminders import Reminders
from daemon.planning.sources import Source
from daemon.planning.writing import AccountOf
from daemon.sealing.keys import DataKeys


def sources(
    keys: DataKeys, account_of: AccountOf | None, config: Callable[[], Config] | None = None
) -> dict[str, Source]:
    """A source for each kind. `account_of`: which account carries a channel for a workspace; None: not asked. `config`:
    what is learned, and what links begin with; None: nothing.
    """
    return {"check_in": CheckIns(keys, account_of, config), "reminder": Reminders(keys, account_of, config)}
