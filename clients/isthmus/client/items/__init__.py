"""Calls for storing, reading and deleting items, sync and async, and what the two share."""
