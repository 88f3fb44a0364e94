"""The names of what Isthmus puts into a call's metadata."""

from __future__ import annotations

from typing import Final

REQUEST_ID: Final = "x-isthmus-request-id"
"""Names the call in every log line; accepted from callers when harmless, else made fresh."""
TENANT: Final = "x-isthmus-tenant"
"""Whose data is meant; trusted only between services."""
ROLE: Final = "x-isthmus-role"
"""What the caller may do: the gateway has checked it already; trusted only between services."""
AUTHORIZATION: Final = "authorization"
"""`Bearer KEY`, from callers of the gateway; never logged, never passed on."""
DEADLINE: Final = "x-isthmus-deadline"
"""When the caller gives up, in milliseconds since 1970; trusted only between services, where Ray Serve hides gRPC's own
deadline from handlers."""
TRACEPARENT: Final = "traceparent"
"""The caller's place in a trace (W3C); passed on as it came when it is well-formed."""
APPLICATION: Final = "application"
"""Ray Serve's own: which application behind its ingress is meant."""
