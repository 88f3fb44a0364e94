"""Calls for collections, sync and async, and what the two share."""
