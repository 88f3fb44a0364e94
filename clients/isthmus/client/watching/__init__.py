"""Calls for watched collections, sync and async, and what the two share."""
