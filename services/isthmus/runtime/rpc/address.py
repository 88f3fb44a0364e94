"""Where a service is: one string, whatever hosts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["ServiceAddress"]

_PLAIN: Final = re.compile(r"^(?:(?:unix|dns|ipv4|ipv6):\S+|[^/\s]+:\d{1,5})$")
"""A host and a port, or one of gRPC's own names, which may stand for several servers."""
_SERVE: Final = "serve://"
_SERVE_REST: Final = re.compile(r"^(?P<target>[^/\s]+:\d{1,5})/(?P<application>[a-z0-9_-]{1,63})$")


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """An address, taken apart.

    Attributes:
        target: What gRPC connects to; a name that resolves to several addresses is spread over all of them.
        application: Application of Ray Serve behind that target; empty when a service itself listens there.
    """

    target: str
    application: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT`, `unix:PATH` or `serve://HOST:PORT/APPLICATION`.

        Raises:
            ValueError: it is none of them.
        """
        if not text.startswith(_SERVE):
            if not _PLAIN.match(text):
                msg = "an address is HOST:PORT, unix:PATH or serve://HOST:PORT/APPLICATION"
                raise ValueError(msg)
            return cls(text)
        parts = _SERVE_REST.match(text.removeprefix(_SERVE))
        if parts is None:
            msg = "an address of Ray Serve is serve://HOST:PORT/APPLICATION"
            raise ValueError(msg)
        return cls(parts["target"], parts["application"])
