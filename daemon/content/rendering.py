"""From a leased delivery to what the platform is asked: the text, the sender, the callback's address."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from daemon import clock
from daemon.model import Delivery, Rendered


class Renderer:
    """Renders one account's deliveries."""

    def __init__(
        self,
        hook_url: str | None,
        senders: dict[str, str],
        owns: Callable[[int], bool] = lambda _: True,
        monotonic: clock.Monotonic = clock.monotonic,
    ) -> None:
        """`hook_url`: the account's status hook, None without callbacks; `senders`: by workspace;
        `owns`: whether what a lease token leased is still ours."""
        self._hook_url = hook_url
        self._senders = senders
        self._owns = owns
        self._monotonic = monotonic

    def __call__(self, delivery: Delivery) -> Rendered:
        """What to send. The platform may keep trying for as long as the delivery is worth it."""
        validity = None
        if delivery.expires_in_seconds is not None:
            gone = 0.0 if delivery.send_at is not None else self._monotonic() - delivery.leased_at
            validity = int(delivery.expires_in_seconds - gone)
        callback = None
        if self._hook_url is not None:
            callback = f"{self._hook_url}?delivery={delivery.id}&attempt={delivery.attempt}"
        return Rendered(
            delivery=delivery,
            body=delivery.body,
            sender=self._senders.get(delivery.workspace),
            media_urls=delivery.media_urls,
            status_callback=callback,
            validity_seconds=validity,
            owns=self._owns,
        )


def hook_url(public_url: str | None, kind: str, account: str, what: str) -> str | None:
    """Where a platform posts for an account; None without a public URL. `what` is status or inbound."""
    return None if public_url is None else f"{public_url}/hooks/{kind}/{quote(account)}/{what}"
