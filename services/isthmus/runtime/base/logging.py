"""Structured logs: one `key=value` line an event, on stderr, with the request id of the call being served.

The message is a constant; whatever varies is a field::

    log.info("collection created", extra=fields(collection=name, revision=3))
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from isthmus.runtime.base import context

__all__ = ["configure", "fields"]

_KEY = "isthmus_fields"


def fields(**values: object) -> dict[str, Any]:
    """Return `extra=` for a log call. Never pass content, keys or vectors."""
    return {_KEY: values}


def _quote(value: object) -> str:
    text = str(value)
    return text if text and all(c.isalnum() or c in "_.:/@+-" for c in text) else json.dumps(text)


class KeyValueFormatter(logging.Formatter):
    """Render a record as `time=… level=… logger=… msg="…" request_id=… key=value…`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows as one quoted field."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        call = context.serving()
        if call is not None:
            parts["request_id"] = call.request_id
            parts["tenant"] = call.tenant
        parts.update(getattr(record, _KEY, {}))
        if record.exc_info:
            parts["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quote(value)}" for key, value in parts.items())


def configure(level: str = "INFO") -> None:
    """Send the `isthmus` loggers to stderr in key=value form; call once a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger("isthmus")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
