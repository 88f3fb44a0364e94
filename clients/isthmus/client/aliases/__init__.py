"""Calls for aliases, sync and async, and what the two share."""
