"""`[rules]` and `[workspaces.NAME.rules]`: what may be sent to whom, and when."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from daemon.config.platforms import Section
from daemon.config.problems import invalid
from daemon.config.values import matching

EVERY = "*"
"""The key of all categories that are not named."""

NO_HOURS = "none"

_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?"
_HOURS = re.compile(rf"({_CLOCK})-({_CLOCK})")

Category = Annotated[
    str,
    AfterValidator(
        matching(
            r"\*|[a-z][a-z0-9_]{0,39}",
            "is not a category",
            "use 1 to 40 small letters, digits and _, or * for all others",
            kind="duly_name",
        )
    ),
]
Country = Annotated[
    str,
    AfterValidator(
        matching("[A-Z]{2}", "is not a country", 'use ISO 3166\'s two letters: "US"', kind="duly_name")
    ),
]
Language = Annotated[
    str,
    AfterValidator(
        matching(
            r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", "is not a language", 'use a tag such as "en"', kind="duly_name"
        )
    ),
]


def _hours(value: str) -> str:
    found = _HOURS.fullmatch(value)
    if value != NO_HOURS and (found is None or time.fromisoformat(found[1]) == time.fromisoformat(found[2])):
        raise invalid("must be two different times", f'for example: "21:00-08:00", or "{NO_HOURS}"')
    return value


Hours = Annotated[str, AfterValidator(_hours)]


def _zone_or(*words: str) -> AfterValidator:
    def check(value: str) -> str:
        if value in words or value in available_timezones():
            return value
        raise invalid(
            "is neither " + ", ".join(words) + " nor an IANA zone", 'for example: "America/New_York"'
        )

    return AfterValidator(check)


class CapConfig(Section):
    """`[rules.caps.NAME]`: how much one recipient may get."""

    limit: int = Field(ge=1, le=1000, examples=[30])
    """Messages to one address, at most."""

    days: float | None = Field(default=None, gt=0, le=366, examples=[30])
    """Within so many days up to now."""

    calendar: Literal["day", "week", "month"] | None = None
    """Instead of `days`: within a day, week (from Monday) or month of the recipient's zone."""

    categories: list[Category] = Field(default=[])
    """Only messages of these categories count and are held back; none: of all but the exempt."""

    exempt: list[Category] = Field(default=[])
    """Categories that neither count nor are held back."""

    on_reached: Literal["defer", "skip"] = "defer"
    """Wait until there is room again, or give up."""

    @model_validator(mode="after")
    def _one_window(self) -> CapConfig:
        if (self.days is None) == (self.calendar is None):
            raise invalid("needs either days or calendar", 'for example: days = 30, or calendar = "week"')
        return self


def _default_caps() -> dict[str, CapConfig]:
    return {"recipient": CapConfig(limit=30, days=30.0, exempt=["transactional", "urgent"])}


class RulesConfig(Section):
    """`[rules]`; what a workspace's own table names goes before it, key by key."""

    quiet_hours: dict[Category, Hours] = Field(default={"marketing": "21:00-08:00"})
    """Category = when nothing of it is sent, in the recipient's zone; "*": all that are not named."""

    quiet_hours_in: dict[Country, dict[Category, Hours]] = Field(default={})
    """Country = the same for recipients there, whatever `quiet_hours` says."""

    zone_unknown: Annotated[str, _zone_or("skip", "allow")] = "skip"
    """What quiet hours do to whom nothing tells the zone: "skip", "allow", or an IANA zone to assume."""

    no_common_hour: Annotated[str, _zone_or("skip")] = "skip"
    """Where the zones someone may be in never allow the same hour: "skip", or an IANA zone to assume."""

    caps: dict[Annotated[str, AfterValidator(matching(
        "[a-z][a-z0-9_]{0,39}", "is not a name for a cap", "use small letters, digits and _", kind="duly_name",
    ))], CapConfig] = Field(default_factory=_default_caps)  # fmt: skip
    """Name = how much one recipient may get."""

    per_week_exempt: list[Category] = Field(default=["transactional", "urgent"])
    """Categories that a contact's own `max_per_week` does not hold back."""

    consent_required: list[Category] = Field(default=[])
    """Categories that need a recorded yes."""

    double_opt_in: bool = False
    """A yes from a form counts only after the person has answered YES to a message that asks."""

    verified_only: bool = False
    """A workspace that is not verified sends to its own verified addresses and to stand-ins only."""

    opt_out_scope: Literal["workspace", "account"] = "workspace"
    """A STOP holds for the workspace that wrote last, or for all that write by this account."""

    answer_keywords: bool = True
    """Confirm a STOP or START and answer HELP, where the platform has not done so."""

    business: str | None = Field(default=None, min_length=1, max_length=60, examples=["Clinic East"])
    """The name that footers and confirmations give; None: the workspace's."""

    help_contact: str | None = Field(
        default=None, min_length=1, max_length=100, examples=["help@clinic.example"]
    )
    """Where HELP says that help is."""

    language: Language = "en"
    """Of footers and confirmations where the recipient's is not known."""

    footer_categories: list[Category] = Field(default=[])
    """Categories that get the opt-out text appended; "*": all."""

    footers: dict[Language, Annotated[str, Field(min_length=1, max_length=300)]] = Field(default={})
    """Language = the text to append instead of ours."""

    def over(self, base: RulesConfig) -> RulesConfig:
        """These rules where they say something, `base` where they do not."""
        return base.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})
