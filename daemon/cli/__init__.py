"""The command line: one module a command group, put together here."""

from __future__ import annotations

import typer

from daemon.cli import (
    analytics,
    audit,
    bench,
    campaign,
    chaos,
    check,
    consent,
    contacts,
    deadletters,
    deliveries,
    demo,
    do_not_contact,
    goals,
    migrate,
    plan,
    privacy,
    run,
    series,
    simulate,
    status,
    templates,
    verify,
)

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
app.command("simulate")(simulate.simulate)
app.command("cancel")(deliveries.cancel)
app.command("plan")(plan.plan)
app.command("reschedule")(deliveries.reschedule)
app.command("replay")(deadletters.replay)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.command("analytics")(analytics.analytics)
app.command("audit")(audit.audit)
app.command("check-config")(check.check_config)
app.command("doctor")(check.doctor)
app.command("chaos")(chaos.chaos)
app.command("bench")(bench.bench)
app.add_typer(campaign.app, name="campaign")
app.add_typer(contacts.app, name="contacts")
app.add_typer(templates.app, name="template")
app.add_typer(consent.app, name="consent")
app.add_typer(do_not_contact.app, name="do-not-contact")
app.add_typer(goals.app, name="goal")
app.add_typer(privacy.app, name="privacy")
app.add_typer(series.app, name="series")
