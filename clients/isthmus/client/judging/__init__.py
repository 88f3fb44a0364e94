"""Calls for judging collections and aligners, sync and async, and what the two share."""
