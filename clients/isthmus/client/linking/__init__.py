"""The call that proposes links, sync and async, and what the two share."""
