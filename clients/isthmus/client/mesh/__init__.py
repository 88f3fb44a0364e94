"""Calls for the mesh itself, sync and async, and what the two share."""
