"""The starter set: a coach's texts in three styles, which `duly template import-starter` puts and the demo says."""

from __future__ import annotations

import tomllib
from pathlib import Path

from daemon.content.documents import Document, checked


def starter() -> list[Document]:
    """The templates accountability, partial and congratulatory."""
    written = tomllib.loads(Path(__file__).with_name("starter.toml").read_text(encoding="utf-8"))
    return [
        checked(
            {
                "name": name,
                "variables": written["variables"],
                "texts": [
                    {"style": style, "subject": written["subjects"][name], "bodies": bodies}
                    for style, bodies in styles.items()
                ],
            }
        )
        for name, styles in written["texts"].items()
    ]
