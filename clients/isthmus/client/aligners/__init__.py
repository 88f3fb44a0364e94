"""Calls for aligners, sync and async, and what the two share."""
