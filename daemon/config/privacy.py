"""`[privacy]`: for how long what is known of people is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.config.platforms import Section

Days = Annotated[int, Field(ge=0, le=36_500)]
"""Whole days; 0: for good."""


class PrivacyConfig(Section):
    """`[privacy]`."""

    keep_bodies_days: Days = 0
    """Texts, variables and metadata are removed so long after a delivery has ended. Days; 0: never."""

    keep_facts_days: Days = 0
    """Deliveries with all that is known of them are removed so long after they have ended. Days; 0: never."""
