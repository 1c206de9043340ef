"""The links of what series say: stored with the items that are queued, by every kind of series in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.planning.links import NewLink, store_links
from daemon.planning.sources import Item, Series
from daemon.sealing.envelope import CannotOpen
from daemon.sealing.keys import DataKeys
from daemon.store.database import Connection


async def keep_links(conn: Connection, keys: DataKeys, series: Series, items: Sequence[Item]) -> None:
    """Stores the items' links, and takes them out of the items. Where one has a target that cannot be sealed, the item is
    not sent: `cannot_open`.
    """
    saying: list[tuple[Item, list[NewLink]]] = [
        (item, links) for item in items if (links := item.pop("links", None))
    ]
    try:
        every = [link for _, links in saying for link in links]
        await store_links(conn, keys, series.workspace, series.workspace_id, every)
    except CannotOpen:
        for item, links in saying:
            if any(link.target is not None for link in links):
                item["reason"] = "cannot_open"
        asking = [link for item, links in saying if "reason" not in item for link in links]
        await store_links(conn, keys, series.workspace, series.workspace_id, asking)
