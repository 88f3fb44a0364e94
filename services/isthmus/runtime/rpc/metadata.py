"""The names of what Isthmus puts into a call's metadata."""

from __future__ import annotations

from typing import Final

REQUEST_ID: Final = "x-isthmus-request-id"
"""Names the call in every log line; accepted from callers when harmless, else made fresh."""
TENANT: Final = "x-isthmus-tenant"
"""Whose data is meant; trusted only between services."""
