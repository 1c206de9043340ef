"""/healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from daemon import metrics
from daemon.queue.adaptive import Speed

# What each part says keeps it from its work; None where nothing does.
Parts = Callable[[], Mapping[str, str | None]]


class Health:
    """Whether the process lives, and whether it is fit to work."""

    def __init__(
        self,
        parts: Parts,
        accounts: Callable[[], Mapping[str, str]],
        speeds: Callable[[], Mapping[str, Speed]],
        sealing: Callable[[], Mapping[str, str]],
        observe: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._accounts = accounts
        self._speeds = speeds
        self._sealing = sealing
        self._observe = observe

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 as long as the event loop turns."""
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 when every part is fit, else 503; as JSON either way the parts' and accounts' states and speeds, and what
        cannot be sealed or opened.
        """
        parts = self._parts()
        ready = all(trouble is None for trouble in parts.values())
        body = {
            "ready": ready,
            "parts": {name: trouble or "ok" for name, trouble in parts.items()},
            "accounts": dict(self._accounts()),
            "speeds": self._speeds(),
            "sealing": dict(self._sealing()),
        }
        return web.Response(
            status=200 if ready else 503, body=orjson.dumps(body), content_type="application/json"
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        """Prometheus' text format."""
        self._observe()
        return web.Response(
            body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
