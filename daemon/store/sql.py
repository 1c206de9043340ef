"""The SQL files: `sql/queries/NAME.sql` by name, `sql/migrations/NNNN_*.sql` in order."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def sql_dir() -> Path:
    """Where the SQL files are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


@cache
def query(name: str) -> str:
    """The text of sql/queries/`name`.sql."""
    return (sql_dir() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
