"""Duly: every message once, on time, and within the rules."""

__version__ = "0.1.0"
