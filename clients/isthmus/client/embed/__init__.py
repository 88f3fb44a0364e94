"""Calls for embedding without storing: sync, async, and what both share."""
