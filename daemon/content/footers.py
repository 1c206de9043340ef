"""A workspace's footers: what is appended to its messages, in each language that there are words for."""

from __future__ import annotations

import orjson

from daemon.config import RulesConfig
from daemon.content.opt_out import WORDINGS, footer


def footers(rules: RulesConfig, workspace: str) -> str | None:
    """Language → text as JSON, and under "" that of the workspace's own language; None: nothing is appended.

    Each is the business's name and how to opt out, a line each, or the operator's own text.
    """
    if not rules.footer_categories:
        return None
    name = rules.business or workspace
    found = {language: f"{name}\n{footer(language)}" for language in WORDINGS}
    found |= {language.lower(): text for language, text in rules.footers.items()}
    own = rules.language.lower()
    found[""] = found.get(own) or found.get(own.partition("-")[0]) or f"{name}\n{footer(own)}"
    return orjson.dumps(found).decode()
