"""From due rows to platform calls to recorded outcomes: one actor a module."""
