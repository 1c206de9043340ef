"""The command line: one module a command group, put together here."""

from __future__ import annotations

import typer

from daemon.cli import bench, chaos, check, deadletters, deliveries, demo, migrate, privacy, run, status

app = typer.Typer(
    name="duly",
    help="Duly sends every message once, on time, and within the rules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("migrate")(migrate.migrate)
app.command("send")(deliveries.send)
app.command("explain")(deliveries.explain)
app.command("cancel")(deliveries.cancel)
app.command("replay")(deadletters.replay)
app.command("status")(status.status)
app.command("check-config")(check.check_config)
app.command("doctor")(check.doctor)
app.command("chaos")(chaos.chaos)
app.command("bench")(bench.bench)
app.add_typer(privacy.app, name="privacy")
