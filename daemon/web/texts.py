"""`/api/v1/workspaces/NAME/templates`: put, listed, shown, previewed, published and retired over HTTP.

Who may call is who may queue (see `Api`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from daemon.content.documents import checked, document_of
from daemon.content.language import TemplateProblem
from daemon.content.library import list_templates, load_version, put_template
from daemon.content.preview import preview
from daemon.content.templates import TemplateVersion
from daemon.model import Channel
from daemon.store.database import Connection, Database
from daemon.store.sql import query
from daemon.web.access import Access
from daemon.web.bodies import answer, read_json
from daemon.web.refusals import TROUBLE, Refused, refusal

_BASE = "/api/v1/workspaces/{workspace}/templates"
_ONE = _BASE + "/{template}"
_PREVIEW_FIELDS = ("variables", "channel", "language", "style")

Work = Callable[[Connection, str], Awaitable[web.StreamResponse]]


class _Absent(Refused):
    """There is no such template."""


class Texts:
    """The routes below a workspace's templates."""

    def __init__(self, access: Access, database: Database) -> None:
        self._access = access
        self._database = database

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp's router."""
        return [
            web.post(_BASE, self.put),
            web.get(_BASE, self.list, allow_head=False),
            web.get(_ONE, self.show, allow_head=False),
            web.delete(_ONE, self.delete),
            web.post(f"{_ONE}/preview", self.preview),
            web.post(f"{_ONE}/publish", self.publish),
            web.post(f"{_ONE}/retire", self.retire),
        ]

    async def put(self, request: web.Request) -> web.StreamResponse:
        """201 with name@version, 200 where the newest says the same. The document's own fields, and `draft`."""
        self._access.check_api(request)
        document = await read_json(request)

        async def work(conn: Connection, workspace: str) -> web.StreamResponse:
            draft = document.pop("draft", False) if isinstance(document, dict) else False
            if not isinstance(draft, bool):
                raise TemplateProblem("draft: must be true or false")
            done = await put_template(conn, workspace, checked(document), draft=draft)
            return answer(201 if done.created else 200, asdict(done))

        return await self._do(request, work)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """200 with the templates: of each the newest live version and what is newer; `?all=true`: all versions."""
        self._access.check_api(request)

        async def work(conn: Connection, workspace: str) -> web.StreamResponse:
            found = await list_templates(conn, workspace, every_version=request.query.get("all") == "true")
            return answer(200, {"templates": [asdict(each) for each in found]})

        return await self._do(request, work)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """200 with a version as a document."""
        self._access.check_api(request)

        async def work(conn: Connection, workspace: str) -> web.StreamResponse:
            version, state = await _found(conn, workspace, request)
            return answer(200, {**document_of(version), "version": version.version, "state": state})

        return await self._do(request, work)

    async def preview(self, request: web.Request) -> web.StreamResponse:
        """200 with each text as it would be said. Takes `variables`, `channel`, `language` and `style`."""
        self._access.check_api(request)
        asked = await read_json(request)

        async def work(conn: Connection, workspace: str) -> web.StreamResponse:
            given = _asked(asked)
            version, _ = await _found(conn, workspace, request)
            return answer(200, {"texts": [each.as_json() for each in preview(version, **given)]})

        return await self._do(request, work)

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """200 with the version that is live now."""
        return await self._change(request, "set_template_state", "live")

    async def retire(self, request: web.Request) -> web.StreamResponse:
        """200 with the version that is out of use now."""
        return await self._change(request, "set_template_state", "retired")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """200 with the version that is gone; 409 for one that was used."""
        return await self._change(request, "delete_template")

    async def _change(self, request: web.Request, statement: str, *more: str) -> web.StreamResponse:
        self._access.check_api(request)

        async def work(conn: Connection, workspace: str) -> web.StreamResponse:
            template = request.match_info["template"]
            return answer(
                200, {"template": await conn.fetchval(query(statement), workspace, template, *more)}
            )

        return await self._do(request, work)

    async def _do(self, request: web.Request, work: Work) -> web.StreamResponse:
        workspace = request.match_info["workspace"]
        try:
            async with self._database.acquire() as conn:
                if await conn.fetchval(query("workspace_id"), workspace) is None:
                    raise Refused(f"workspace: {workspace[:100]!r} is not known")
                return await work(conn, workspace)
        except TROUBLE as error:
            return refusal(error, "template" if isinstance(error, _Absent) else "workspace")


async def _found(conn: Connection, workspace: str, request: web.Request) -> tuple[TemplateVersion, str]:
    template = request.match_info["template"]
    found = await load_version(conn, workspace, template)
    if found is None:
        raise _Absent(f"template: there is no template {template[:100]!r}")
    return found


def _asked(asked: Any) -> dict[str, Any]:
    """What a preview is asked for. Raises `TemplateProblem`."""
    if not isinstance(asked, dict):
        raise TemplateProblem("variables: send an object with variables, channel, language and style")
    for key, value in asked.items():
        if key not in _PREVIEW_FIELDS:
            raise TemplateProblem(f"{key[:40]}: is none of {', '.join(_PREVIEW_FIELDS)}")
        if key != "variables" and value is not None and not isinstance(value, str):
            raise TemplateProblem(f"{key}: must be a text")
    channel = asked.get("channel")
    if channel is not None and channel not in set(Channel):
        raise TemplateProblem(f"channel: {channel[:40]!r} is none of {', '.join(Channel)}")
    given = asked.get("variables") or {}
    if not isinstance(given, dict):
        raise TemplateProblem("variables: must be a JSON object")
    return {"given": given, **{key: asked.get(key) for key in ("channel", "language", "style")}}
