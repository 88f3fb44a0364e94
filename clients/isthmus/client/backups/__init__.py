"""Calls for backups, sync and async, and what the two share."""
