"""The command line: one module a command group, each imported when it is asked for, as most need none of the others."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

_COMMANDS: Mapping[str, tuple[str, str]] = {  # name → module and function, or its group
    "run": ("run", "run"),
    "demo": ("demo", "demo"),
    "migrate": ("migrate", "migrate"),
    "send": ("deliveries", "send"),
    "explain": ("deliveries", "explain"),
    "simulate": ("simulate", "simulate"),
    "cancel": ("deliveries", "cancel"),
    "plan": ("plan", "plan"),
    "reschedule": ("deliveries", "reschedule"),
    "replay": ("deadletters", "replay"),
    "status": ("status", "status"),
    "verify": ("verify", "verify"),
    "analytics": ("analytics", "analytics"),
    "audit": ("audit", "audit"),
    "check-config": ("check", "check_config"),
    "doctor": ("check", "doctor"),
    "chaos": ("chaos", "chaos"),
    "bench": ("bench", "bench"),
    "campaign": ("campaign", "app"),
    "contacts": ("contacts", "app"),
    "template": ("templates", "app"),
    "consent": ("consent", "app"),
    "do-not-contact": ("do_not_contact", "app"),
    "goal": ("goals", "app"),
    "privacy": ("privacy", "app"),
    "series": ("series", "app"),
}


class _OnDemand(TyperGroup):
    """The commands above."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """All names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """The command of that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found = getattr(import_module(f"daemon.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            command = get_command(alone)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="duly",
    cls=_OnDemand,
    help="Duly sends every message once, on time, and within the rules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _duly() -> None:
    """A group although it has no commands of its own."""
