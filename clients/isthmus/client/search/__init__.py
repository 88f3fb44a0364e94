"""Calls for searching, sync and async, and what the two share."""
