"""Calls that ask whether a picture belongs to a text: sync, async, and what both share."""
