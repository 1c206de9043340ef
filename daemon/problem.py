"""What somebody has asked for and cannot be."""

from __future__ import annotations


class Problem(ValueError):
    """The text is "field: what is wrong and what would be right", and may be shown to who has asked."""
