"""Who may see the page: whoever knows the password; without one, this machine only.

The page shows people's numbers and what was written to them, so nothing of it is open by default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from daemon.config import WebConfig
from daemon.web.logins import Logins

# Open to all: the probes and metrics have no personal data (names of parts, accounts and workspaces, and
# numbers), and who asks them rarely can log in; the hooks check the platform's signature, the API asks `check_api`.
_OPEN = ("/healthz", "/readyz", "/metrics")
_OPEN_BELOW = ("/hooks/", "/api/")
# Open to all who have a link from a message: its token, which cannot be guessed, is the right to it.
_LINKS = ("/f/", "/l/")

# Whoever sends one of these asks for somebody else.
_PROXIED = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "CF-Connecting-IP",
)

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that a browser sends `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_LOCAL_ONLY = (
    "Without a password this page answers to this machine only, asked directly: open http://localhost with the "
    "port of web.listen there. To see it from elsewhere or through a proxy, set web.password in the TOML and "
    "reload."
)


def is_open(request: web.Request) -> bool:
    """Whether the request concerns no page, or one that is for everybody with a link to it."""
    path = _path(request)
    return path in _OPEN or path.startswith((*_OPEN_BELOW, *_LINKS))


def _path(request: web.Request) -> str:
    """By the route that will answer, so that no spelling of a path opens a page; where none will, the answer is 404 or
    405 and gives nothing away.
    """
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else request.path


class Access:
    """Asks the present configuration about every request, so that a changed password takes effect at once."""

    def __init__(self, config: Callable[[], WebConfig], logins: Logins) -> None:
        self._config = config
        self._logins = logins

    def check(self, request: web.Request) -> None:
        """Raises 401 or 403 with a text for the person who asked."""
        config = self._config()
        self._let_in(request, config)
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            _check_origin(request, config.public_url)

    def check_api(self, request: web.Request) -> None:
        """Raises 401 or 403 for a program's request. It comes from no page, so only another site's is refused.

        That it must be JSON keeps other sites' pages out even in a browser that does not say where from: they
        may not send it without asking us first.
        """
        self._let_in(request, self._config())
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="Another site's page may not queue messages.")

    def allows(self, request: web.Request) -> bool:
        """Whether who passed `check` with this request would pass it now."""
        config = self._config()
        return _knows_password(request, config) if config.password is not None else _is_local(request)

    def _let_in(self, request: web.Request, config: WebConfig) -> None:
        if config.password is None:
            if not _is_local(request):
                raise web.HTTPForbidden(text=_LOCAL_ONLY)
            return
        if _knows_password(request, config):
            self._logins.succeeded(request.remote or "", config.username)
            return
        if hdrs.AUTHORIZATION in request.headers:
            self._logins.failed(request.remote or "")
        raise web.HTTPUnauthorized(
            text="Log in with the name and password of [web] in the TOML.",
            headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="Duly", charset="UTF-8"'},
        )


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For aiohttp's on_response_prepare: what browsers must keep to, on every page."""
    if not is_open(request) or _path(request).startswith(_LINKS):
        if request.path.startswith("/static/") and response.status in (200, 304):
            # No secret in them, and their URLs change with what is in them.
            response.headers.setdefault("Cache-Control", "private, max-age=86400")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)


def _knows_password(request: web.Request, config: WebConfig) -> bool:
    """Whether the request has the name and the password, where there is one."""
    given = _credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
    if given is None or config.password is None:
        return False
    # Hashed first, so that the comparison takes the same time whatever the lengths.
    return hmac.compare_digest(_digest(given), _digest(f"{config.username}:{config.password.reveal()}"))


def _credentials(header: str) -> str | None:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _is_local(request: web.Request) -> bool:
    """Whether a program on this machine asks, for itself.

    The Host must be this machine's, or a web site that lets its name point here could read the page in the
    viewer's browser (DNS rebinding). HTTP/1.0 is what a proxy speaks that was not told otherwise (nginx).
    """
    return (
        _is_loopback_peer(request)
        and _is_loopback_name(request.host)
        and request.version >= HttpVersion11
        and not any(name in request.headers for name in _PROXIED)
    )


def _is_loopback_peer(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return isinstance(peer, tuple) and _is_loopback_ip(peer[0])


def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback_ip(name)


def _is_loopback_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _check_origin(request: web.Request, public_url: str | None) -> None:
    """Raises 403 unless the request came from one of our own pages. Browsers always say where from."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        ours = site == "same-origin"
    else:
        origin = request.headers.get(hdrs.ORIGIN, "")
        ours = origin in (f"http://{request.host}", f"https://{request.host}") or (
            public_url is not None and origin == _origin_of(public_url)
        )
    if not ours:
        raise web.HTTPForbidden(text="This did not come from a page of ours. Open the page and try there.")


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
