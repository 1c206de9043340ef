"""Campaigns: a CSV of recipients, queued in chunks that may be interrupted and repeated."""
